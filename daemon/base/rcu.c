// SPDX-License-Identifier: MIT
#include "rcu.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include <urcu-qsbr.h>

/* liburcu's two, which live as long as the process, and one more, since others start meanwhile. */
#define THREADS 3

struct trial {
	pthread_mutex_t lock;
	pthread_cond_t over;
	bool is_over;
};

static void *wait_for_end(void *arg)
{
	struct trial *t = arg;

	pthread_mutex_lock(&t->lock);
	while (!t->is_over)
		pthread_cond_wait(&t->over, &t->lock);
	pthread_mutex_unlock(&t->lock);
	return NULL;
}

static void end_trial(struct trial *t)
{
	pthread_mutex_lock(&t->lock);
	t->is_over = true;
	pthread_cond_broadcast(&t->over);
	pthread_mutex_unlock(&t->lock);
}

/* Starts and ends as many threads as liburcu will start. 0, or the -errno of the one that could not
 * be started. */
static int try_threads(void)
{
	struct trial t = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
	pthread_t threads[THREADS];
	unsigned n = 0;
	int err = 0;

	while (!err && n < THREADS) {
		err = -pthread_create(&threads[n], NULL, wait_for_end, &t);
		n += !err;
	}
	end_trial(&t);
	while (n)
		pthread_join(threads[--n], NULL);
	return err;
}

int rcu_begin(void)
{
	int err = try_threads();

	if (err)
		return err;
	urcu_qsbr_get_default_call_rcu_data();
	urcu_qsbr_register_thread();
	return 0;
}
