// Keys by prefix, and one of them beside the list.
import { useEffect, useState } from "preact/hooks";
import { address, get, remove, send, sentence } from "../lib/api";
import { bytes, counted, duration, moment } from "../lib/format";
import { usePages, usePolled, useSettled, useTick } from "../lib/hooks";
import { serverNow } from "../lib/live";
import { link, useRoute } from "../lib/router";
import type { Key, Page, Value, ValueType } from "../lib/types";
import { editable, preview, typedValue, withValue } from "../lib/value";
import { FormDialog } from "../ui/dialog";
import { notify } from "../ui/notice";
import { Cell, Choice, Field, ListState, Pager, Problem } from "../ui/parts";
import { ValueEditor, ValueView, typeName } from "../ui/value";

type Entry = Key & Value;
type KeyPage = Page<Entry> & { count: number };

const PREVIEW_BYTES_MAX = 200;
/** How often the open key, and the list, are read again. */
const KEY_MS = 1_000;
const LIST_MS = 2_000;

/** Address of a key whose exact name is percent-encoded already. */
const keyAddress = (path: string): string => `${address(["store", "keys"])}/${path}`;

function Ttl({ expires_at }: { expires_at: number }) {
  useTick(1_000);
  if (expires_at === 0) return <span class="muted">none</span>;
  const rest = expires_at - serverNow();
  return rest <= 0 ? <span class="muted">over</span> : <>{duration(Math.ceil(rest / 1000) * 1000)}</>;
}

type Lifetime = "keep" | "none" | "new";

interface EditProps {
  /** null: a new key. */
  entry: Entry | null;
  prefix: string;
  onClose: () => void;
  onSaved: (path: string) => void;
}

function EditDialog({ entry, prefix, onClose, onSaved }: EditProps) {
  const [name, setName] = useState(prefix);
  const [type, setType] = useState<ValueType>(entry?.type ?? "str");
  const [text, setText] = useState(entry === null ? "" : editable(entry));
  const [lifetime, setLifetime] = useState<Lifetime>(
    entry === null || entry.expires_at === 0 ? "none" : "keep",
  );
  const [seconds, setSeconds] = useState("60");
  const run = async (): Promise<void> => {
    const path = entry?.path ?? encodeURIComponent(name);
    if (path === "") throw new Error("A key has a name.");
    const ttl_ms = Math.round(Number(seconds) * 1000);
    if (lifetime === "new" && !(ttl_ms > 0)) throw new Error("A time to live is more than 0 seconds.");
    const fields = {
      if_version: entry?.version ?? 0,
      ...(lifetime === "keep" ? { keep_ttl: true } : {}),
      ...(lifetime === "new" ? { ttl_ms } : {}),
    };
    try {
      await send("PUT", keyAddress(path), withValue(fields, type, typedValue(type, text)));
    } catch (problem) {
      if ((problem as { code?: string }).code !== "VERSION_MISMATCH") throw problem;
      throw new Error(
        entry === null
          ? "There is a key of this name."
          : "Somebody else has changed this key since you opened it. Close this, look at it, and edit again.",
      );
    }
    notify(`Saved ${entry?.key ?? name}`);
    onSaved(path);
  };
  return (
    <FormDialog
      title={entry === null ? "New key" : `Edit ${entry.key}`}
      wide
      action="Save"
      run={run}
      onClose={onClose}
    >
      {entry === null && <Field label="Key" value={name} mono onInput={setName} />}
      <ValueEditor type={type} text={text} onType={setType} onText={setText} />
      <div class="fields">
        <Choice<Lifetime>
          label="Time to live"
          value={lifetime}
          options={[
            ...(entry !== null && entry.expires_at > 0 ? ([["keep", "as it is"]] as const) : []),
            ["none", "none"],
            ["new", "new"],
          ]}
          onChange={setLifetime}
        />
        {lifetime === "new" && <Field label="Seconds" type="number" value={seconds} onInput={setSeconds} />}
      </div>
    </FormDialog>
  );
}

function KeyDetail({ path, back, onGone }: { path: string; back: string; onGone: () => void }) {
  const { data: entry, error, reload } = usePolled<Entry>(keyAddress(path), KEY_MS);
  const [asking, setAsking] = useState<Entry | "delete" | null>(null);
  return (
    <section class="card detail" aria-label="Key">
      <a class="back" href={back}>
        ← All keys
      </a>
      <Problem text={error} />
      {entry !== null && error === null && (
        <>
          <h2 class="name">{entry.key}</h2>
          <dl class="facts">
            <div>
              <dt>Type</dt>
              <dd>{typeName(entry.type)}</dd>
            </div>
            <div>
              <dt>Version</dt>
              <dd>{entry.version}</dd>
            </div>
            <div>
              <dt>Time to live</dt>
              <dd>
                <Ttl expires_at={entry.expires_at} />
              </dd>
            </div>
            {entry.expires_at > 0 && (
              <div>
                <dt>Expires</dt>
                <dd>{moment(entry.expires_at)}</dd>
              </div>
            )}
          </dl>
          <ValueView key={path} value={entry} />
          <div class="buttons">
            <button type="button" onClick={() => setAsking(entry)}>
              Edit …
            </button>
            <button type="button" class="danger" onClick={() => setAsking("delete")}>
              Delete …
            </button>
          </div>
          {asking === "delete" && (
            <FormDialog
              title="Delete this key?"
              action="Delete"
              danger
              onClose={() => setAsking(null)}
              run={async () => {
                await remove(keyAddress(entry.path));
                notify(`Deleted ${entry.key}`);
                onGone();
              }}
            >
              <p>
                <code>{entry.key}</code> and its value of {bytes(entry.bytes)} are gone then.
              </p>
            </FormDialog>
          )}
          {asking !== null && asking !== "delete" && (
            <EditDialog entry={asking} prefix="" onClose={() => setAsking(null)} onSaved={reload} />
          )}
        </>
      )}
    </section>
  );
}

export function StorePage() {
  const { query } = useRoute();
  const selected = query.get("key");
  const [typed, setTyped] = useState(query.get("prefix") ?? "");
  const prefix = useSettled(typed);
  const [creating, setCreating] = useState(false);
  const pages = usePages<Entry, KeyPage>(
    (after) =>
      address(["store", "keys"], { prefix, after, values: true, value_bytes_max: PREVIEW_BYTES_MAX }),
    LIST_MS,
  );
  useEffect(() => {
    // The address follows what is typed, without a step of the browser's history for each letter.
    if (prefix !== (query.get("prefix") ?? "")) {
      history.replaceState(null, "", link(["store"], { prefix, key: selected ?? undefined }));
    }
  }, [prefix]);
  const back = link(["store"], { prefix });
  const open = (path: string): void => {
    location.hash = link(["store"], { prefix, key: path });
  };
  const find = async (event: Event): Promise<void> => {
    event.preventDefault();
    try {
      // In byte order a key comes before all others that begin with it.
      const [first] = (await get<Page<Key>>(address(["store", "keys"], { prefix: typed, limit: 1 }))).items;
      if (first?.key === typed) open(first.path);
    } catch (problem) {
      notify(sentence(problem), true);
    }
  };
  const items = pages.data?.items ?? [];
  return (
    <>
      <div class="heading">
        <h1>Store</h1>
        <button type="button" class="primary" onClick={() => setCreating(true)}>
          New key …
        </button>
      </div>
      <form class="search" role="search" onSubmit={find}>
        <Field
          label="Keys that begin with"
          type="search"
          mono
          value={typed}
          placeholder="user:"
          onInput={setTyped}
          hint={pages.data === null ? " " : counted(pages.data.count, "key")}
        />
      </form>
      <div class={selected === null ? "split" : "split chosen"}>
        <div class="master">
          {items.length > 0 && (
            <table class="list">
              <thead>
                <tr>
                  <th>Key</th>
                  <th>Value</th>
                  <th>Type</th>
                  <th class="number">Size</th>
                  <th class="number">TTL</th>
                </tr>
              </thead>
              <tbody>
                {items.map((entry) => (
                  <tr key={entry.path} class={entry.path === selected ? "selected" : ""}>
                    <th scope="row">
                      <a class="mono" href={link(["store"], { prefix, key: entry.path })}>
                        {entry.key}
                      </a>
                    </th>
                    <td class="preview">{preview(entry)}</td>
                    <Cell name="Type">{typeName(entry.type)}</Cell>
                    <Cell name="Size" number>
                      {bytes(entry.bytes)}
                    </Cell>
                    <Cell name="TTL" number>
                      {entry.expires_at === 0 ? "–" : <Ttl expires_at={entry.expires_at} />}
                    </Cell>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
          <ListState
            pages={pages}
            empty={
              prefix === ""
                ? "The store is empty. nexo store set greeting hello puts a key."
                : "No key begins so."
            }
          />
          <Pager pages={pages} noun="key" />
        </div>
        {selected !== null && (
          <KeyDetail
            key={selected}
            path={selected}
            back={back}
            onGone={() => {
              location.hash = back;
              pages.reload();
            }}
          />
        )}
      </div>
      {creating && (
        <EditDialog
          entry={null}
          prefix={prefix}
          onClose={() => setCreating(false)}
          onSaved={(path) => {
            pages.reload();
            open(path);
          }}
        />
      )}
    </>
  );
}
