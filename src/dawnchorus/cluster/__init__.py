"""Work of a job on many machines by Ray: workers, the cores that each uses, and workers that are killed."""
