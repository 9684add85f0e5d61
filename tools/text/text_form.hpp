// SPDX-License-Identifier: MIT
// The canonical text of a dump, docs/text.md: the same bytes as `contrail.py text` writes.
#ifndef CONTRAIL_TOOLS_TEXT_FORM_HPP
#define CONTRAIL_TOOLS_TEXT_FORM_HPP

#include <contrail/reader.hpp>

#include <string>
#include <string_view>

/// `Out` takes pieces of text: out(std::string_view).
template <class Out>
class text_form {
 public:
  text_form(const contrail::reader& of, Out& out) : reader_(of), out_(out) {}

  void write() {
    write_summary();
    for (const contrail::event_binding* b : reader_.bindings()) write_binding(*b);
    auto next = reader_.begin();
    for (const contrail::event_thread& thread : reader_.threads()) {
      write_thread(thread);
      for (uint64_t left = count(thread); left != 0; --left, ++next) write_event(*next);
      for (const auto& [ticks, id] : thread.found.switches) line("task ", reader_.ns(ticks), " ", id);
    }
    for (; next != reader_.end(); ++next) write_event(*next);
    for (const std::string& note : reader_.notes()) line("note ", quoted(note));
    for (const std::string& warning : reader_.warnings()) line("warning ", quoted(warning));
  }

 private:
  static constexpr size_t max_event_name = 60;
  static constexpr char digits[] = "0123456789abcdef";

  static std::string quoted(std::string_view raw) {
    std::string shown = "\"";
    for (const char c : raw) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte >= 0x20 && byte < 0x7f && c != '"' && c != '\\') {
        shown += c;
      } else {
        shown += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
      }
    }
    return shown += '"';
  }
  static std::string quoted_short(std::string_view raw) { return quoted(raw.substr(0, max_event_name)); }
  static std::string hex(uint64_t value, size_t width) {
    std::string shown;
    do shown.insert(shown.begin(), digits[value & 15]);
    while ((value >>= 4) != 0);
    return shown.insert(0, width > shown.size() ? width - shown.size() : 0, '0');
  }
  static const std::string& shown(const std::string& text) { return text; }
  static std::string_view shown(const char* text) { return text; }
  static std::string shown(uint64_t number) { return std::to_string(number); }
  static std::string shown(int64_t number) { return std::to_string(number); }
  static std::string shown(uint32_t number) { return std::to_string(number); }

  template <class... Parts>
  void line(const Parts&... parts) {
    buffer_.clear();
    ((buffer_ += shown(parts)), ...);
    end_line();
  }
  void end_line() {
    buffer_ += '\n';
    out_(std::string_view(buffer_));
  }

  static std::string kind_name(contrail::event_kind kind) {
    constexpr const char* names[] = {"?", "region", "instant", "counter", "log", "event_type", "overflow",
                                     "task", "async_span", "frame"};
    return names[static_cast<size_t>(kind)];
  }
  static std::string type_name(contrail::field_type type) {
    constexpr const char* names[] = {"",       "bool",  "char",   "int8",   "uint8",   "int16",   "uint16",
                                     "int32",  "uint32", "int64", "uint64", "int128",  "uint128", "float",
                                     "double", "pointer", "string", "duration", "code_point", "flow_out", "flow_in"};
    const auto index = static_cast<size_t>(type);
    return index != 0 && index < sizeof(names) / sizeof(names[0]) ? names[index] : "type" + std::to_string(index);
  }
  static std::string clock_name(uint32_t source) {
    constexpr const char* names[] = {"", "tsc", "cntvct", "monotonic"};
    return source != 0 && source <= 3 ? names[source] : "source" + std::to_string(source);
  }
  static std::string anchor(const contrail::detail::clock_anchor& a) {
    return std::to_string(a.ticks) + ' ' + std::to_string(a.monotonic_ns) + ' ' + std::to_string(a.realtime_ns) + ' ' +
           std::to_string(a.boottime_ns);
  }

  void write_summary() {
    const contrail::recording_info info = reader_.info();
    const char* const form = info.is_stream ? " stream " : info.is_dump ? " dump " : " live ";
    line("contrail ", info.version_major, ".", info.version_minor, form, info.bytes);
    line("process ", info.pid, " ", quoted(info.executable), " ", quoted(info.host));
    line("clock ", clock_name(info.clock_source), " ", info.nominal_hz, " ", info.measured_hz);
    line("started ", anchor(info.started));
    if (info.is_dump) {
      line("dumped ", anchor(info.dumped));
      line("asked ", info.window_ns, " ", info.cutoff_ticks, " ", info.dump_sequence, " ", info.dump_signal, " ",
           info.dump_tid);
    } else {
      line("ended ", info.storage, " ", info.ended, " ", anchor(info.stopped));
    }
    if (const contrail::recording_crash& crash = info.crash; crash.cause != 0) {
      line("crash ", crash.cause, " ", crash.signal, " ", int64_t{crash.code}, " ", crash.tid, " ", crash.address, " ",
           crash.sender, " ", quoted(crash.thread));
    }
    if (info.trigger_ticks != 0) line("trigger ", info.trigger_ticks, " ", quoted(info.trigger));
    line("holds ", uint64_t{reader_.threads().size()}, " threads of ", info.attached, ", ", info.chunks, " chunks");
    line("time ", info.zero_unix_ns, " ", info.covered_ns, " ", info.now_ns);
    for (const contrail::recording_loss& loss : reader_.losses()) line("lost ", loss.count, " ", quoted(loss.why));
  }

  void write_binding(const contrail::event_binding& b) {
    line("binding ", uint32_t{b.id}, " ", kind_name(b.kind), " ", uint32_t{b.flags}, " ", hex(b.type_id, 16), " ",
         b.line, " ", quoted(b.name), " ", quoted(b.category), " ", quoted(b.file), " ", quoted(b.function));
    for (const contrail::event_enumerator& e : b.enumerators) line("enumerator ", e.value, " ", quoted(e.name));
    for (const contrail::event_binding::field& f : b.fields) {
      line("field ", quoted(f.name), " ", type_name(f.type), " ", f.is_array ? std::to_string(f.count) : "-", " ",
           uint32_t{f.offset}, " ", uint32_t{f.first_enumerator}, " ", uint32_t{f.enumerator_count});
    }
  }

  void write_thread(const contrail::event_thread& t) {
    line("thread ", t.tid, " ", quoted(t.name), " regions ", t.region_count(), " points ", t.point_count(), " async ",
         t.async_count(), " spans ", t.span_count(), " open ", t.open, " overwritten ", t.overwritten, " missing ", t.missing, " dropped ",
         t.dropped, t.is_again ? " again" : "");
  }

  static uint64_t count(const contrail::event_thread& t) {
    return t.region_count() + t.point_count() + t.async_count() + t.span_count();
  }

  void write_event(const contrail::event& e) {
    constexpr const char* forms[] = {"region ", "open ", "point ", "async ", "span ", "open-span "};
    const int64_t start = e.start_ns();
    buffer_ = forms[static_cast<size_t>(e.form())] + std::to_string(start);
    if (e.form() != contrail::event_form::point) buffer_ += ' ' + std::to_string(e.end_ns() - start);
    if (e.form() == contrail::event_form::async_region) buffer_ += ' ' + std::to_string(e.begin_tid());
    if (e.is_span()) {
      const contrail::event_span span = e.span();
      for (const uint64_t number : {span.id, span.parent, uint64_t{span.begin_tid}}) buffer_ += ' ' + std::to_string(number);
      buffer_ += ' ' + hex(span.trace_high, 16) + hex(span.trace_low, 16) + ' ' + hex(span.own, 16) + ' ' + hex(span.from, 16);
    }
    buffer_ += ' ' + kind_name(e.kind()) + ' ' + quoted_short(e.category()) + ' ' + quoted_short(e.name());
    e.read_fields(fields_);
    if (fields_.is_damaged()) buffer_ += " damaged";
    for (const contrail::event_field& f : fields_) {
      buffer_ += ' ' + (f.is_dynamic ? quoted(f.name) : quoted_short(f.name)) + '=' + type_name(f.type) + ':';
      if (f.is_array) buffer_ += '[';
      bool is_first = true;
      for (const contrail::event_value& value : f.values) {
        if (!is_first) buffer_ += ',';
        is_first = false;
        buffer_ += value_text(value);
      }
      if (f.is_array) buffer_ += ']';
    }
    end_line();
  }

  static std::string value_text(const contrail::event_value& value) {
    using contrail::field_type;
    if (value.is_named) return quoted_short(value.text);
    switch (value.type) {
      case field_type::boolean: return value.as_bool() ? "true" : "false";
      case field_type::string: return quoted(std::string(value.text) + (value.is_cut ? "\xe2\x80\xa6" : ""));
      case field_type::float32: return "0x" + hex(value.low, 8);
      case field_type::float64: return "0x" + hex(value.low, 16);
      case field_type::pointer:
      case field_type::flow_out:
      case field_type::flow_in: return "0x" + hex(value.low, 1);
      default: return value.to_string();
    }
  }

  const contrail::reader& reader_;
  Out& out_;
  contrail::event_fields fields_;
  std::string buffer_;
};

/// The text as one string, for tests.
inline std::string text_of(const contrail::reader& reader) {
  std::string all;
  const auto append = [&](std::string_view piece) { all += piece; };
  text_form(reader, append).write();
  return all;
}

#endif
