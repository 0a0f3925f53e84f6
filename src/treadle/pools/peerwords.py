"""Words of other libraries for what pools, workers and their foremen have."""

from __future__ import annotations

__all__ = ["EXPLAINED", "SYNONYMS"]

SYNONYMS: dict[str, str] = {
    "num_workers": "max_workers", "n_workers": "max_workers", "nworkers": "max_workers",
    "workers": "max_workers", "processes": "max_workers", "num_processes": "max_workers",
    "threads": "max_workers", "max_threads": "max_workers", "n_jobs": "max_workers",
    "pool_size": "max_workers", "concurrency": "max_workers",
    "load_balancing": "balancing", "num_retries": "retry", "retries": "retry",
    "max_retries": "retry", "max_task_retries": "retry", "time_limit": "timeout",
    "max_queued": "max_queued_tasks", "max_queue_size": "max_queued_tasks",
    "max_pending_calls": "max_queued_tasks", "maxsize": "max_queued_tasks",
    "max_tasks_per_child": "max_calls", "maxtasksperchild": "max_calls",
    "max_tasks_per_worker": "restart_every", "memory_limit": "max_rss", "max_memory": "max_rss",
    "stop_timeout": "patience", "shutdown_timeout": "patience", "idle_timeout": "max_age",
    "environ": "env", "environment": "env", "thread_name_prefix": "name", "backend": "mode",
    "executor": "mode", "worker_type": "mode",
}  # fmt: skip
"""Words for the same."""

_RATE = "a rate is a limit: limits=[Rate(60, per='1m')]"
_RAY = "what an actor needs is told together: mode='ray', ray={{'{0}': …}}"

EXPLAINED: dict[str, str] = {
    **{word: _RAY.format(word) for word in ("num_cpus", "num_gpus", "resources", "runtime_env")},
    **dict.fromkeys(("rpm", "rps", "qps", "rate", "rate_limit", "max_rate"), _RATE),
    "initializer": "what a place needs for its calls is made by start() of a Worker; preload= "
    "loads modules before children are forked, around= surrounds each call in its child",
    "initargs": "a Worker is made from the arguments of init(…), or of bind(…) for jobs",
    "mp_context": "children are forked from a helper process without threads, everywhere; there "
    "is nothing to choose",
    "start_method": "children are forked from a helper process without threads, everywhere; there "
    "is nothing to choose",
    "max_concurrency": "slots= says how many one worker has at a time, max_workers= how many "
    "workers there are",
    "chunksize": "how many items go with one call is said where they are given: "
    "pool.map(f, items, chunk=…)",
    "max_restarts": "workers are restarted as often as it takes; retry= is about calls, and "
    "start_timeout= bounds a start",
    "daemon": "threads and children never keep the program; patience= says how long they have",
}
"""Words for what is said otherwise here."""
