// Answers requests the way TensorFlow Serving does, without Python:
//
//   model_server <base> < requests > answers
//
// It loads the newest version in the folder through
// tensorflow::LoadSavedModel with the tag "serve", and replays the version's
// warm-up requests. Then it reads serialized PredictRequests, each behind its
// length as a varint. The answer to each is a line, "OK <size>" followed by a
// serialized PredictResponse of that size, or the status of the error.
//
// The rules for requests are those of predict_util.cc of TensorFlow Serving.

#include <dlfcn.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/cc/saved_model/util.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/framework/tensor.pb.h"
#include "tensorflow/core/lib/io/record_reader.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/protobuf/meta_graph.pb.h"
#include "tensorflow/core/public/session.h"
#include "tensorflow/core/public/session_options.h"

namespace {

namespace fs = std::filesystem;
using tensorflow::SignatureDef;
using tensorflow::Tensor;
using tensorflow::TensorProto;
using Inputs = google::protobuf::Map<std::string, TensorProto>;

[[noreturn]] void Fail(const std::string& message) {
  std::cerr << message << std::endl;
  std::exit(1);
}

void Check(const absl::Status& status, const std::string& task) {
  if (!status.ok()) Fail(task + ": " + status.ToString());
}

absl::Status Invalid(const std::string& message) {
  return absl::Status(absl::StatusCode::kInvalidArgument, message);
}

// ---- the wire format of Protocol Buffers ------------------------------------

// What is left of a message: fields are taken from its front.
struct Message {
  const char* next;
  const char* end;

  explicit Message(const std::string& bytes)
      : next(bytes.data()), end(bytes.data() + bytes.size()) {}

  bool Done() const { return next == end; }

  bool Varint(uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (next == end) return false;
      const uint64_t group = static_cast<unsigned char>(*next++);
      *value |= (group & 0x7F) << shift;
      if (group < 0x80) return true;
    }
    return false;
  }

  // Takes `size` bytes.
  bool Bytes(uint64_t size, std::string* bytes) {
    if (size > static_cast<uint64_t>(end - next)) return false;
    bytes->assign(next, size);
    next += size;
    return true;
  }

  // Takes a field of bytes.
  bool Field(uint64_t* number, std::string* bytes) {
    uint64_t tag = 0, size = 0;
    if (!Varint(&tag) || (tag & 7) != 2 || !Varint(&size)) return false;
    *number = tag >> 3;
    return Bytes(size, bytes);
  }
};

void AppendVarint(uint64_t value, std::string* bytes) {
  for (; value >= 0x80; value >>= 7) bytes->push_back(value & 0x7F | 0x80);
  bytes->push_back(static_cast<char>(value));
}

std::string Field(int number, const std::string& payload) {
  std::string bytes;
  AppendVarint(number << 3 | 2, &bytes);
  AppendVarint(payload.size(), &bytes);
  return bytes + payload;
}

// ---- requests ---------------------------------------------------------------

struct PredictRequest {
  std::string signature = "serving_default";
  Inputs inputs;
  std::vector<std::string> output_filter;
};

absl::Status Parse(const std::string& bytes, PredictRequest* request) {
  const absl::Status damaged = Invalid("the request cannot be parsed");
  Message message(bytes);
  uint64_t number = 0;
  for (std::string field; !message.Done();) {
    if (!message.Field(&number, &field)) return damaged;
    Message inner(field);
    std::string key, value;
    if (number == 1) {  // ModelSpec: signature_name = 3.
      while (!inner.Done()) {
        if (!inner.Field(&number, &value)) return damaged;
        if (number == 3 && !value.empty()) request->signature = value;
      }
    } else if (number == 2) {  // An entry of the map: key = 1, value = 2.
      while (!inner.Done()) {
        std::string part;
        if (!inner.Field(&number, &part)) return damaged;
        (number == 1 ? key : value) = part;
      }
      if (!request->inputs[key].ParseFromString(value)) return damaged;
    } else if (number == 3) {
      request->output_filter.push_back(field);
    }
  }
  return absl::OkStatus();
}

std::string Join(const std::vector<std::string>& names) {
  std::string joined;
  for (const auto& name : names) joined += (joined.empty() ? "" : ",") + name;
  return "{" + joined + "}";
}

template <typename Map>
std::vector<std::string> SortedKeys(const Map& map) {
  std::vector<std::string> keys;
  for (const auto& entry : map) keys.push_back(entry.first);
  std::sort(keys.begin(), keys.end());
  return keys;
}

absl::Status CheckNumberOfInputs(const SignatureDef& signature,
                                 const Inputs& inputs) {
  const auto needed = signature.inputs().size();
  if (inputs.size() == needed ||
      (inputs.size() < needed && !signature.defaults().empty())) {
    return absl::OkStatus();
  }
  const auto sent = SortedKeys(inputs), known = SortedKeys(signature.inputs());
  std::vector<std::string> extra, missing;
  std::set_difference(sent.begin(), sent.end(), known.begin(), known.end(),
                      std::back_inserter(extra));
  std::set_difference(known.begin(), known.end(), sent.begin(), sent.end(),
                      std::back_inserter(missing));
  return Invalid("input size does not match signature. Sent extra: " +
                 Join(extra) + ". Missing but required: " + Join(missing));
}

absl::Status Predict(const tensorflow::SavedModelBundle& bundle,
                     const std::string& bytes, std::string* response) {
  PredictRequest request;
  if (auto status = Parse(bytes, &request); !status.ok()) return status;
  const auto& signatures = bundle.GetSignatures();
  const auto found = signatures.find(request.signature);
  if (found == signatures.end()) {
    return absl::Status(
        absl::StatusCode::kFailedPrecondition,
        "Serving signature key \"" + request.signature + "\" not found.");
  }
  const SignatureDef& signature = found->second;
  if (signature.method_name() != "tensorflow/serving/predict") {
    return absl::Status(absl::StatusCode::kInternal,
                        "unknown method " + signature.method_name());
  }
  auto status = CheckNumberOfInputs(signature, request.inputs);
  if (!status.ok()) return status;
  std::vector<std::pair<std::string, Tensor>> feeds;
  status = tensorflow::saved_model::GetInputValues(signature, request.inputs,
                                                   feeds);
  if (!status.ok()) return status;

  std::vector<std::string> names = request.output_filter;
  if (names.empty()) names = SortedKeys(signature.outputs());
  std::vector<std::string> fetches;
  for (const auto& name : names) {
    const auto output = signature.outputs().find(name);
    if (output == signature.outputs().end()) {
      return Invalid("output tensor alias not found in signature: " + name);
    }
    fetches.push_back(output->second.name());
  }
  std::vector<Tensor> outputs;
  status = bundle.GetSession()->Run(feeds, fetches, {}, &outputs);
  if (!status.ok()) return status;
  for (size_t i = 0; i < outputs.size(); ++i) {
    TensorProto proto;
    outputs[i].AsProtoField(&proto);
    // PredictResponse: map<string, TensorProto> outputs = 1.
    *response += Field(1, Field(1, names[i]) +
                              Field(2, proto.SerializeAsString()));
  }
  return absl::OkStatus();
}

// ---- versions ---------------------------------------------------------------

std::string NewestVersion(const std::string& base) {
  int64_t newest = -1;
  for (const auto& entry : fs::directory_iterator(base)) {
    const std::string name = entry.path().filename();
    if (entry.is_directory() && !name.empty() &&
        name.find_first_not_of("0123456789") == std::string::npos) {
      newest = std::max<int64_t>(newest, std::stoll(name));
    }
  }
  if (newest < 0) Fail("no versions in " + base);
  return base + "/" + std::to_string(newest);
}

// Returns how many requests were replayed.
int WarmUp(const tensorflow::SavedModelBundle& bundle,
           const std::string& folder) {
  const std::string path =
      folder + "/assets.extra/tf_serving_warmup_requests";
  if (!fs::exists(path)) return 0;
  std::unique_ptr<tensorflow::RandomAccessFile> file;
  Check(tensorflow::Env::Default()->NewRandomAccessFile(path, &file), path);
  tensorflow::io::SequentialRecordReader reader(file.get());
  tensorflow::tstring record;
  int replayed = 0;
  for (; reader.ReadRecord(&record).ok(); ++replayed) {
    // PredictionLog: predict_log = 6. PredictLog: request = 1.
    uint64_t number = 0;
    std::string log, request, response;
    const std::string bytes(record);
    if (!Message(bytes).Field(&number, &log) || number != 6 ||
        !Message(log).Field(&number, &request) || number != 1) {
      Fail("a warm-up record is no PredictionLog of a PredictLog");
    }
    Check(Predict(bundle, request, &response), "warm-up");
  }
  return replayed;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) Fail("usage: model_server <base>");
  // Kernels and the session factory register themselves when this library is
  // loaded. Linking it takes minutes; loading it takes a second.
  if (dlopen("libtensorflow_cc.so.2", RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    Fail(dlerror());
  }
  const std::string folder = NewestVersion(argv[1]);
  tensorflow::SavedModelBundle bundle;
  Check(tensorflow::LoadSavedModel(tensorflow::SessionOptions(),
                                   tensorflow::RunOptions(), folder, {"serve"},
                                   &bundle),
        "load");
  std::cerr << "version: " << folder << '\n'
            << "warm-up requests: " << WarmUp(bundle, folder) << std::endl;

  const std::string requests(std::istreambuf_iterator<char>(std::cin), {});
  Message message(requests);
  while (!message.Done()) {
    uint64_t size = 0;
    std::string request, response;
    if (!message.Varint(&size) || !message.Bytes(size, &request)) {
      Fail("a request is cut off");
    }
    const absl::Status status = Predict(bundle, request, &response);
    if (status.ok()) {
      std::cout << "OK " << response.size() << '\n' << response;
    } else {
      std::string text = status.ToString();
      std::replace(text.begin(), text.end(), '\n', ' ');
      std::cout << text << '\n';
    }
  }
  return 0;
}
