// All streams: how they grow, and what is kept.
import { useState } from "preact/hooks";
import { address, post } from "../lib/api";
import { bytes, duration, perSecond, whole } from "../lib/format";
import { usePages, useSettled } from "../lib/hooks";
import { serverNow } from "../lib/live";
import { link } from "../lib/router";
import { latestRate, trace } from "../lib/trace";
import type { Stream } from "../lib/types";
import { FormDialog } from "../ui/dialog";
import { notify } from "../ui/notice";
import { Cell, Field, ListState, Pager } from "../ui/parts";

export function retention(stream: Stream): string {
  const bounds = [
    stream.max_age_ms > 0 && duration(stream.max_age_ms),
    stream.max_bytes > 0 && bytes(stream.max_bytes),
    stream.max_records > 0 && `${whole(stream.max_records)} records`,
  ].filter(Boolean);
  return bounds.length === 0 ? "everything" : bounds.join(", ");
}

function StreamRow({ stream, read_ms }: { stream: Stream; read_ms: number }) {
  const columns = trace(`stream ${stream.name}`, read_ms + serverNow() - Date.now(), stream);
  return (
    <tr>
      <th scope="row">
        <a href={link(["streams", stream.name])}>{stream.name}</a>
      </th>
      <Cell name="Records" number>
        {whole(stream.records)}
      </Cell>
      <Cell name="Size" number>
        {bytes(stream.bytes)}
      </Cell>
      <Cell name="Growth" number>
        {perSecond(latestRate(columns, "last_seq"))}
      </Cell>
      <Cell name="Last" number>
        {whole(stream.last_seq)}
      </Cell>
      <Cell name="Groups" number>
        {whole(stream.groups)}
      </Cell>
      <Cell name="Keeps">{retention(stream)}</Cell>
      <Cell name="Durability">{stream.durability}</Cell>
    </tr>
  );
}

export function StreamsPage() {
  const [typed, setTyped] = useState("");
  const prefix = useSettled(typed);
  const [creating, setCreating] = useState(false);
  const [name, setName] = useState("");
  const pages = usePages<Stream>((after) => address(["streams"], { prefix, after }), 2_000);
  const items = pages.data?.items ?? [];
  return (
    <>
      <div class="heading">
        <h1>Streams</h1>
        <button type="button" class="primary" onClick={() => setCreating(true)}>
          New stream …
        </button>
      </div>
      <div class="search" role="search">
        <Field label="Streams that begin with" type="search" mono value={typed} onInput={setTyped} />
      </div>
      {items.length > 0 && (
        <table class="list">
          <thead>
            <tr>
              <th>Stream</th>
              <th class="number">Records</th>
              <th class="number">Size</th>
              <th class="number">Growth</th>
              <th class="number">Last</th>
              <th class="number">Groups</th>
              <th>Keeps</th>
              <th>Durability</th>
            </tr>
          </thead>
          <tbody>
            {items.map((stream) => (
              <StreamRow key={stream.name} stream={stream} read_ms={pages.read_ms} />
            ))}
          </tbody>
        </table>
      )}
      <ListState pages={pages} empty={prefix === "" ? "There is no stream yet." : "No stream begins so."} />
      <Pager pages={pages} noun="stream" />
      {creating && (
        <FormDialog
          title="New stream"
          action="Create"
          disabled={name === ""}
          onClose={() => setCreating(false)}
          run={async () => {
            await post(address(["streams"]), { name });
            notify(`Created ${name}`);
            location.hash = link(["streams", name]);
          }}
        >
          <Field label="Name" value={name} mono onInput={setName} />
          <p class="muted">
            With the options that streams have unless told otherwise; the command line sets others.
          </p>
        </FormDialog>
      )}
    </>
  );
}
