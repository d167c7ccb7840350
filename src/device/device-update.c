/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * device-update - settings of a target that change while its device runs. They are checked as those
 * of a definition are, then the target takes them over, on the main thread, beside its queues. The
 * definition stays as it is, and counts again from the next start on.
 */
#include <assert.h>
#include <errno.h>

#include "device/device-internal.h"
#include "util/cleanup.h"
#include "util/log.h"

DEFINE_CLEANUP(struct device_config *, device_config_free);

/* Between its open() and its close() there is a queue thread; without one a job may be at either.
 */
static int refuse_if_not_serving(const struct device *d, struct failure *f)
{
	const struct ub_target *t = d->config->target;

	if (!t->update)
		return failure_set(f, FAILURE_INVALID_CONFIGURATION, EOPNOTSUPP,
				   "target '%s' has no setting that can change while the device "
				   "runs",
				   t->name);
	if (!d->kernel.n_threads)
		return failure_set(f, FAILURE_DEVICE_NOT_RUNNING, EINVAL, "device '%s' is %s",
				   device_get_name(d), device_state_name(d->state));
	return 0;
}

static int parse_all(struct device_config *c, const struct device_setting *v, size_t n,
		     struct failure *f)
{
	_cleanup_(problems_release) struct problems p = {};
	_cleanup_free_ char *text = NULL;

	for (size_t i = 0; i < n; i++)
		if (device_config_update(c, v[i].key, v[i].value, &p) == -ENOMEM)
			return failure_set(f, FAILURE_NO_MEMORY, ENOMEM, "out of memory");
	if (!p.n_fatal)
		return 0;
	text = problems_join(&p);
	return failure_set(f, FAILURE_INVALID_CONFIGURATION, EINVAL, "%s",
			   text ? text : "out of memory");
}

static int hand_over(struct device *d, const struct device_config *c, struct failure *f)
{
	int r;

	d->dev.failure = (struct failure){0};
	r = c->target->update(&d->dev, d->target_state, c->target_state);
	if (r == 0)
		return 0;
	assert(failure_is_set(&d->dev.failure));
	*f = d->dev.failure;
	return r;
}

int device_update(struct device *d, const struct device_setting *v, size_t n, struct failure *f)
{
	_cleanup_(device_config_freep) struct device_config *c = NULL;
	int r = refuse_if_not_serving(d, f);

	if (r < 0)
		return r;
	c = device_config_copy(device_get_settings(d));
	if (!c)
		return failure_set(f, FAILURE_NO_MEMORY, ENOMEM, "out of memory");
	r = parse_all(c, v, n, f);
	if (r == 0)
		r = hand_over(d, c, f);
	if (r < 0)
		return r;
	(void) device_config_free(d->updated);
	d->updated = TAKE_PTR(c);
	for (size_t i = 0; i < n; i++)
		log_full(LOG_INFO, 0, device_get_name(d), NULL, 0, "%s is '%s' now", v[i].key,
			 v[i].value);
	manager_device_changed(d->manager, d);
	return 0;
}

const struct device_config *device_get_settings(const struct device *d)
{
	return d->updated ? d->updated : d->config;
}
