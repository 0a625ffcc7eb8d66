// Answers one request the way TensorFlow Serving does, without Python:
//
//   serve_once <saved_model> < request > answer
//
// The SavedModel is loaded through tensorflow::LoadSavedModel with the tag
// "serve", and the signature "serving_default" maps names to tensors. Each
// line of the request is `name dtype rank sizes... values...`, each line of
// the answer the same.

#include <dlfcn.h>

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/public/session.h"
#include "tensorflow/core/public/session_options.h"

namespace {

using tensorflow::DataType;
using tensorflow::Tensor;

[[noreturn]] void Fail(const std::string& message) {
  std::cerr << message << std::endl;
  std::exit(1);
}

void Check(const absl::Status& status, const std::string& task) {
  if (!status.ok()) Fail(task + ": " + status.ToString());
}

template <typename T>
void ReadValues(std::istream& line, Tensor* tensor) {
  auto values = tensor->flat<T>();
  for (int64_t i = 0; i < values.size(); ++i) {
    double value;
    if (!(line >> value)) Fail("too few values");
    values(i) = static_cast<T>(value);
  }
}

std::pair<std::string, Tensor> ReadTensor(const std::string& text) {
  std::istringstream line(text);
  std::string name, dtype;
  int rank = 0;
  line >> name >> dtype >> rank;
  tensorflow::TensorShape shape;
  for (int i = 0; i < rank; ++i) {
    int64_t size = 0;
    line >> size;
    shape.AddDim(size);
  }
  if (dtype == "int32") {
    Tensor tensor(tensorflow::DT_INT32, shape);
    ReadValues<int32_t>(line, &tensor);
    return {name, tensor};
  }
  if (dtype == "float32") {
    Tensor tensor(tensorflow::DT_FLOAT, shape);
    ReadValues<float>(line, &tensor);
    return {name, tensor};
  }
  Fail("unknown dtype " + dtype);
}

void WriteTensor(const std::string& name, const Tensor& tensor) {
  if (tensor.dtype() != tensorflow::DT_FLOAT) Fail(name + " is not float32");
  std::cout << name << " float32 " << tensor.dims();
  for (int i = 0; i < tensor.dims(); ++i) std::cout << ' ' << tensor.dim_size(i);
  std::cout.precision(9);
  auto values = tensor.flat<float>();
  for (int64_t i = 0; i < values.size(); ++i) std::cout << ' ' << values(i);
  std::cout << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) Fail("usage: serve_once <saved_model>");
  // Kernels and the session factory register themselves when this library is
  // loaded. Linking it takes minutes; loading it takes a second.
  if (dlopen("libtensorflow_cc.so.2", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    Fail(dlerror());
  }
  tensorflow::SavedModelBundle bundle;
  Check(tensorflow::LoadSavedModel(tensorflow::SessionOptions(),
                                   tensorflow::RunOptions(), argv[1], {"serve"},
                                   &bundle),
        "load");
  const auto& signatures = bundle.GetSignatures();
  const auto found = signatures.find("serving_default");
  if (found == signatures.end()) Fail("no signature serving_default");
  const auto& signature = found->second;
  if (signature.method_name() != "tensorflow/serving/predict") {
    Fail("the server does not know the method " + signature.method_name());
  }

  std::vector<std::pair<std::string, Tensor>> feeds;
  for (std::string text; std::getline(std::cin, text);) {
    auto [name, tensor] = ReadTensor(text);
    const auto input = signature.inputs().find(name);
    if (input == signature.inputs().end()) Fail("no input " + name);
    if (input->second.dtype() != tensor.dtype()) Fail("wrong dtype: " + name);
    feeds.emplace_back(input->second.name(), tensor);
  }
  if (feeds.size() != signature.inputs().size()) Fail("an input is missing");

  std::vector<std::string> names, fetches;
  for (const auto& [name, output] : signature.outputs()) {
    names.push_back(name);
    fetches.push_back(output.name());
  }
  std::vector<Tensor> outputs;
  Check(bundle.GetSession()->Run(feeds, fetches, {}, &outputs), "run");
  for (size_t i = 0; i < outputs.size(); ++i) WriteTensor(names[i], outputs[i]);
  return 0;
}
