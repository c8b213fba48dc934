"""Review of detections by people: clips, queues, answers, what follows from them, and the page."""
