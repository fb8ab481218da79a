"""Human3.6M in VideoPose3D's npz files."""
