"""What a target becomes: masks, shared values and quantizers with their state, by TFMOT where TFMOT has it."""
