// A message wherever it is looked at: a row that opens to its headers and its payload.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { preview } from "../lib/value";
import type { Header, Value } from "../lib/types";
import { Headers, ValueView } from "./value";

interface Props {
  value: Value & { headers: readonly Header[] };
  /** What identifies it: shown before the beginning of its value. */
  head: ComponentChildren;
  children?: ComponentChildren;
}

export function MessageRow({ value, head, children }: Props) {
  const [open, setOpen] = useState(false);
  return (
    <details class="message" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        {head} <span class="preview">{preview(value)}</span>
      </summary>
      {open && (
        <div class="message-body">
          {value.headers.length > 0 && <Headers headers={value.headers} />}
          <ValueView value={value} />
          {children}
        </div>
      )}
    </details>
  );
}
