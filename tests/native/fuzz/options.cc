// What AddressSanitizer is told when libFuzzer runs: a graph may ask for a
// workspace of any size, and gets an error.
extern "C" const char* __asan_default_options() {
  return "allocator_may_return_null=1:max_allocation_size_mb=256";
}
