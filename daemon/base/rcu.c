// SPDX-License-Identifier: MIT
#include "rcu.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include <urcu-qsbr.h>
#include <urcu/rculfhash.h>

#include "thread.h"

/* liburcu's two, which live as long as the process, the one that starts them, and one more, since
 * others start meanwhile. */
#define THREADS 4

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

/* liburcu starts the thread that resizes hash tables with the first of them, and ends it with the
 * last: this one lives as long as the process. */
static int start_resizing(void)
{
	static struct cds_lfht *table;

	if (!table)
		table = cds_lfht_new(1, 1, 0, CDS_LFHT_AUTO_RESIZE, NULL);
	return table ? 0 : -ENOMEM;
}

struct start {
	void (*prepare)(void);
	int err;
};

static void *start_threads(void *arg)
{
	struct start *s = arg;

	thread_become(THREAD_RCU);
	pthread_setname_np(pthread_self(), "rcu");
	s->prepare();
	urcu_qsbr_register_thread();
	urcu_qsbr_get_default_call_rcu_data();
	s->err = start_resizing();
	urcu_qsbr_unregister_thread();
	return NULL;
}

int rcu_begin(void (*prepare)(void))
{
	struct start s = {.prepare = prepare};
	int err = try_threads();
	pthread_t thread;

	if (!err)
		err = -pthread_create(&thread, NULL, start_threads, &s);
	if (err)
		return err;
	pthread_join(thread, NULL);
	urcu_qsbr_register_thread();
	return s.err;
}
