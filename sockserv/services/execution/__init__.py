"""Commands that others may run: the policy, the job, and the processes."""
