"""Where a packed weight is computed with: by a kernel of ours, or decoded for XNNPACK."""
