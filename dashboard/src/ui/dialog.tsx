// Dialogs on the browser's own <dialog>: it keeps the focus inside, and Escape closes it.
import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { sentence } from "../lib/api";

interface DialogProps {
  title: string;
  wide?: boolean;
  onClose: () => void;
  children: ComponentChildren;
}

export function Dialog({ title, wide, onClose, children }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  const removed = useRef(false);
  const heading = useId();
  useLayoutEffect(() => {
    const shown = element.current;
    shown?.showModal();
    return () => {
      // Closing gives the focus back to where it was; as long as it is open, nothing outside can have it.
      removed.current = true;
      shown?.close();
    };
  }, []);
  return (
    <dialog
      ref={element}
      class={wide ? "wide" : ""}
      aria-labelledby={heading}
      // Escape closes it whether or not a page may object: the end is what counts, not the attempt.
      onClose={() => {
        if (!removed.current) onClose();
      }}
    >
      <header>
        <h2 id={heading}>{title}</h2>
        <button type="button" class="plain" aria-label="Close" onClick={onClose}>
          ×
        </button>
      </header>
      {children}
    </dialog>
  );
}

interface FormProps extends Omit<DialogProps, "children"> {
  action: string;
  danger?: boolean;
  /** What has to be typed before the button works. */
  typed?: string;
  disabled?: boolean;
  /** Does it; an error is shown and the dialog stays. */
  run: () => Promise<void>;
  children?: ComponentChildren;
}

/** A question with one answer that does something. */
export function FormDialog({
  title,
  wide,
  action,
  danger,
  typed,
  disabled,
  run,
  onClose,
  children,
}: FormProps) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const [text, setText] = useState("");
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await run();
      onClose();
    } catch (problem) {
      setError(sentence(problem));
      setBusy(false);
    }
  };
  return (
    <Dialog title={title} onClose={onClose} {...(wide ? { wide } : {})}>
      <form onSubmit={submit}>
        {children}
        {typed !== undefined && (
          <label class="field">
            <span>
              Type <code>{typed}</code> to confirm
            </span>
            <input
              value={text}
              autocomplete="off"
              spellcheck={false}
              onInput={(e) => setText(e.currentTarget.value)}
            />
          </label>
        )}
        {error !== null && (
          <p class="error" role="alert">
            {error}
          </p>
        )}
        <footer>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button
            type="submit"
            class={danger ? "danger" : "primary"}
            disabled={busy || disabled || (typed !== undefined && text !== typed)}
          >
            {busy ? "…" : action}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
