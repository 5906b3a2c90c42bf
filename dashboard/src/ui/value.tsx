// One value, shown by its type. Contents are text nodes only: nothing in a message is ever markup.
import { useState } from "preact/hooks";
import { bytes } from "../lib/format";
import { asText, hexDump } from "../lib/hex";
import { editable, headerText, valueBytes } from "../lib/value";
import type { Header, Value, ValueType } from "../lib/types";
import { JsonTree } from "./json";
import { Choice } from "./parts";

type View = "tree" | "text" | "hex";

const NAMES: Record<View, string> = { tree: "Tree", text: "Text", hex: "Hex" };
const TEXT_SHOWN_MAX = 100_000;
const HEX_BYTES_SHOWN_MAX = 16_384;

export const TYPES: readonly (readonly [ValueType, string])[] = [
  ["str", "text"],
  ["json", "JSON"],
  ["int", "integer"],
  ["bytes", "bytes (hex)"],
];

export const typeName = (type: ValueType): string =>
  type === "bytes" ? "bytes" : TYPES.find(([t]) => t === type)![1];

function textOf(value: Value): string | null {
  if (value.type === "bytes") return asText(valueBytes(value));
  return value.truncated ? String(value.value) : editable(value);
}

export function ValueView({ value }: { value: Value }) {
  const text = textOf(value);
  const views: View[] = [
    ...(value.type === "json" && !value.truncated ? (["tree"] as const) : []),
    ...(text !== null ? (["text"] as const) : []),
    "hex",
  ];
  const [chosen, setChosen] = useState<View | null>(null);
  const [whole, setWhole] = useState(false);
  const view = chosen !== null && views.includes(chosen) ? chosen : views[0]!;
  let cut = false;
  let body;
  if (view === "tree") {
    body = <JsonTree value={value.value} />;
  } else if (view === "text") {
    cut = !whole && text!.length > TEXT_SHOWN_MAX;
    body = <pre>{cut ? text!.slice(0, TEXT_SHOWN_MAX) : text}</pre>;
  } else {
    const data = valueBytes(value);
    cut = !whole && data.length > HEX_BYTES_SHOWN_MAX;
    body = <pre>{hexDump(cut ? data.subarray(0, HEX_BYTES_SHOWN_MAX) : data)}</pre>;
  }
  return (
    <div class="value">
      <div class="tabs" role="group" aria-label="How to show the value">
        {views.map((name) => (
          <button key={name} type="button" aria-pressed={name === view} onClick={() => setChosen(name)}>
            {NAMES[name]}
          </button>
        ))}
        <span class="muted">
          {typeName(value.type)}, {bytes(value.bytes)}
          {value.truncated && ", only its beginning"}
        </span>
      </div>
      <div class="value-body" tabIndex={0} role="region" aria-label="Value">
        {body}
      </div>
      {cut && (
        <button type="button" onClick={() => setWhole(true)}>
          Show all
        </button>
      )}
    </div>
  );
}

export function Headers({ headers }: { headers: readonly Header[] }) {
  if (headers.length === 0) return <p class="muted">No headers.</p>;
  return (
    <dl class="headers">
      {headers.map((header, index) => (
        <div key={index}>
          <dt>{header.name}</dt>
          <dd>{headerText(header)}</dd>
        </div>
      ))}
    </dl>
  );
}

interface EditorProps {
  type: ValueType;
  text: string;
  onType: (type: ValueType) => void;
  onText: (text: string) => void;
}

export function ValueEditor({ type, text, onType, onText }: EditorProps) {
  return (
    <>
      <Choice label="Type" value={type} options={TYPES} onChange={onType} />
      <label class="field">
        <span>Value</span>
        <textarea
          class="mono"
          rows={type === "int" ? 1 : 8}
          spellcheck={false}
          value={text}
          onInput={(event) => onText(event.currentTarget.value)}
        />
      </label>
    </>
  );
}

export function HeadersEditor({ text, onText }: { text: string; onText: (text: string) => void }) {
  return (
    <label class="field">
      <span>Headers</span>
      <textarea
        class="mono"
        rows={2}
        spellcheck={false}
        placeholder="trace: ab12"
        value={text}
        onInput={(event) => onText(event.currentTarget.value)}
      />
      <small class="muted">One on each line, as “name: value”.</small>
    </label>
  );
}
