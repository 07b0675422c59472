// What the Arm CPU can do that it runs on.
#ifndef TFCOMPRESS_NATIVE_KERNELS_ARM_FEATURES_H_
#define TFCOMPRESS_NATIVE_KERNELS_ARM_FEATURES_H_

#include <asm/hwcap.h>
#include <sys/auxv.h>

namespace tfc {

inline bool HasDotprod() { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_KERNELS_ARM_FEATURES_H_
