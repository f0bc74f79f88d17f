"""What backpropagation costs: operations, live bytes, seconds; measured, predicted from shapes, and witnessed."""

from profiler.profile import Profile, profile, profile_schedule, program_of

__all__ = ["Profile", "profile", "profile_schedule", "program_of"]
