"""What is done to hosts outside of a job: look at them, fetch and load models, add one to the hosts file."""
