"""Safety of a list of drugs for one patient: rules as versioned data, and what they find."""
