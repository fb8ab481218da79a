"""MPI-INF-3DHP: P-STMO's npz files, and the test annotations in MATLAB form."""
