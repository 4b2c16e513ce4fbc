"""Training a head over a frozen backbone: noisy views of clean texts, cached hidden states, objectives, the loop."""
