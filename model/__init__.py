"""The network: SigLIP vision tower, projector, Qwen2 decoder with one expert set a granularity."""
