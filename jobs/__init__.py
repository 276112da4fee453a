"""What can be launched: asset jobs, operator jobs, schedules."""
