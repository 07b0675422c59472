// The external delegate: claims our custom ops in every subgraph.
#ifndef TFCOMPRESS_NATIVE_DELEGATE_DELEGATE_H_
#define TFCOMPRESS_NATIVE_DELEGATE_DELEGATE_H_

#include "abi/tflite_abi.h"

namespace tfc {

// It holds no state: several interpreters may share one, in several threads.
abi::Delegate* NewDelegate();
void DeleteDelegate(abi::Delegate* delegate);

}  // namespace tfc

#endif  // TFCOMPRESS_NATIVE_DELEGATE_DELEGATE_H_
