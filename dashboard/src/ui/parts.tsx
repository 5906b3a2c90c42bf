// Small pieces that several pages are made of.
import type { ComponentChildren } from "preact";
import { counted, duration } from "../lib/format";
import type { Paged } from "../lib/hooks";
import type { Page } from "../lib/types";

export function Badge({ tone, children }: { tone?: "ok" | "warn" | "bad"; children: ComponentChildren }) {
  return <span class={`badge ${tone ?? ""}`}>{children}</span>;
}

export function Stat({
  label,
  value,
  note,
}: {
  label: string;
  value: ComponentChildren;
  note?: ComponentChildren;
}) {
  return (
    <div class="stat">
      <span class="muted">{label}</span>
      <b>{value}</b>
      {note !== undefined && <small class="muted">{note}</small>}
    </div>
  );
}

/** A cell that carries its column's name, which is shown on narrow screens. */
export function Cell({
  name,
  number,
  children,
}: {
  name: string;
  number?: boolean;
  children: ComponentChildren;
}) {
  return (
    <td data-name={name} class={number ? "number" : ""}>
      {children}
    </td>
  );
}

interface FieldProps {
  label: string;
  value: string;
  onInput: (value: string) => void;
  type?: "text" | "number" | "search" | "datetime-local";
  placeholder?: string;
  hint?: string;
  mono?: boolean;
}

export function Field({ label, value, onInput, type = "text", placeholder, hint, mono }: FieldProps) {
  return (
    <label class="field">
      <span>{label}</span>
      <input
        // The typings want each kind of input by itself; all of these take what is given here.
        type={type as "text"}
        value={value}
        placeholder={placeholder ?? ""}
        class={mono ? "mono" : ""}
        autocomplete="off"
        spellcheck={false}
        {...(type === "number" ? { min: 0, step: 1 } : {})}
        {...(type === "datetime-local" ? { step: 1 } : {})}
        onInput={(event) => onInput(event.currentTarget.value)}
      />
      {hint !== undefined && <small class="muted">{hint}</small>}
    </label>
  );
}

interface ChoiceProps<T extends string> {
  label: string;
  value: T;
  options: readonly (readonly [T, string])[];
  onChange: (value: T) => void;
}

export function Choice<T extends string>({ label, value, options, onChange }: ChoiceProps<T>) {
  return (
    <label class="field">
      <span>{label}</span>
      <select value={value} onChange={(event) => onChange(event.currentTarget.value as T)}>
        {options.map(([name, text]) => (
          <option key={name} value={name}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}

export function Check({
  label,
  value,
  onChange,
}: {
  label: string;
  value: boolean;
  onChange: (on: boolean) => void;
}) {
  return (
    <label class="check">
      <input type="checkbox" checked={value} onChange={(event) => onChange(event.currentTarget.checked)} />
      <span>{label}</span>
    </label>
  );
}

export function Problem({ text }: { text: string | null }) {
  return text === null ? null : (
    <p class="error" role="alert">
      {text}
    </p>
  );
}

/** What stands under a list: where one is, and the ways on. */
export function Pager<T, P extends Page<T>>({ pages, noun }: { pages: Paged<T, P>; noun: string }) {
  const count = pages.data?.items.length ?? 0;
  if (pages.number === 1 && pages.older === null) {
    return count === 0 ? null : <p class="pager muted">{counted(count, noun)}</p>;
  }
  return (
    <nav class="pager" aria-label="Pages">
      <button type="button" disabled={pages.newer === null} onClick={() => pages.first()}>
        First
      </button>
      <button type="button" disabled={pages.newer === null} onClick={() => pages.newer?.()}>
        Previous
      </button>
      <span class="muted">
        Page {pages.number}, {counted(count, noun)}
      </span>
      <button type="button" disabled={pages.older === null} onClick={() => pages.older?.()}>
        Next
      </button>
    </nav>
  );
}

/** A list that is loading, failed or empty says which. */
export function ListState({
  pages,
  empty,
}: {
  pages: Paged<unknown, Page<unknown>>;
  empty: ComponentChildren;
}) {
  if (pages.error !== null) return <Problem text={pages.error} />;
  if (pages.data === null) return <p class="empty muted">Loading …</p>;
  return pages.data.items.length === 0 ? <p class="empty muted">{empty}</p> : null;
}

/** An age or a rest, with "–" for none. */
export function Span({ ms, warn_ms }: { ms: number; warn_ms?: number }) {
  if (ms <= 0) return <>–</>;
  const text = duration(ms);
  return warn_ms !== undefined && ms >= warn_ms ? <b class="warn">{text}</b> : <>{text}</>;
}
