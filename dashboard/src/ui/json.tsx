// A JSON value as a tree that opens a level at a time. Everything is a text node.
import { useState } from "preact/hooks";
import { whole } from "../lib/format";
import type { Json } from "../lib/json";

const OPEN_LEVELS = 2;
const OPEN_CHILDREN_MAX = 50;
const CHILDREN_STEP = 200;
const TEXT_SHOWN_MAX = 2_000;

function Leaf({ value }: { value: Exclude<Json, object> | null }) {
  if (typeof value === "string") {
    const rest = value.length - TEXT_SHOWN_MAX;
    const text = JSON.stringify(rest > 0 ? value.slice(0, TEXT_SHOWN_MAX) : value);
    return (
      <span class="j-string">
        {text}
        {rest > 0 && <i class="muted"> … {whole(rest)} more characters</i>}
      </span>
    );
  }
  return <span class={value === null ? "j-null" : `j-${typeof value}`}>{String(value)}</span>;
}

export function JsonTree({ value, name, level = 0 }: { value: Json; name?: string; level?: number }) {
  const label = name === undefined ? null : <span class="j-name">{name}: </span>;
  const entries: [string, Json][] =
    value !== null && typeof value === "object" ? (Object.entries(value) as [string, Json][]) : [];
  const [open, setOpen] = useState(level < OPEN_LEVELS && entries.length <= OPEN_CHILDREN_MAX);
  const [shown, setShown] = useState(CHILDREN_STEP);
  if (value === null || typeof value !== "object") {
    return (
      <div class="j-leaf">
        {label}
        <Leaf value={value} />
      </div>
    );
  }
  const list = Array.isArray(value);
  const size = `${list ? "[" : "{"}${entries.length}${list ? "]" : "}"}`;
  if (entries.length === 0) {
    return (
      <div class="j-leaf">
        {label}
        <span class="muted">{list ? "[]" : "{}"}</span>
      </div>
    );
  }
  return (
    <details class="j-node" open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        {label}
        <span class="muted">{size}</span>
      </summary>
      {open && (
        <div class="j-children">
          {entries.slice(0, shown).map(([key, item]) => (
            <JsonTree key={key} name={key} value={item} level={level + 1} />
          ))}
          {entries.length > shown && (
            <button type="button" onClick={() => setShown(shown + CHILDREN_STEP)}>
              {whole(entries.length - shown)} more
            </button>
          )}
        </div>
      )}
    </details>
  );
}
