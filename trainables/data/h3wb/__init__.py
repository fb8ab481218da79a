"""Human3.6M WholeBody (H3WB): 133 joints, as JSON or as npz."""
