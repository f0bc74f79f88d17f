from .steps import profile_step as profile_step
