// One stream: its growth, its groups, its records.
import { useState } from "preact/hooks";
import { address, remove } from "../lib/api";
import { bytes, counted, moment, perSecond, whole } from "../lib/format";
import { usePolled } from "../lib/hooks";
import { serverNow } from "../lib/live";
import { rates } from "../lib/rates";
import { link, useRoute } from "../lib/router";
import { trace } from "../lib/trace";
import type { Stream } from "../lib/types";
import { Chart } from "../ui/chart";
import { FormDialog } from "../ui/dialog";
import { notify } from "../ui/notice";
import { Problem, Stat } from "../ui/parts";
import { DeadLetters, Groups } from "./stream_groups";
import { Records } from "./stream_records";
import { retention } from "./streams";

function Charts({ stream, read_ms }: { stream: Stream; read_ms: number }) {
  const columns = trace(`stream ${stream.name}`, read_ms + serverNow() - Date.now(), stream);
  const at = (columns["at"] ?? []) as number[];
  return (
    <div class="charts">
      <Chart
        title="Growth"
        at_ms={at}
        format={perSecond}
        lines={[{ label: "records", values: rates(at, columns["last_seq"] ?? []) }]}
      />
      <Chart
        title="Kept"
        at_ms={at}
        format={bytes}
        lines={[{ label: "bytes", values: columns["bytes"] ?? [] }]}
      />
    </div>
  );
}

export function StreamPage({ name }: { name: string }) {
  const { query } = useRoute();
  const group = query.get("dead");
  const [deleting, setDeleting] = useState(false);
  const { data: stream, read_ms, error } = usePolled<Stream>(address(["streams", name]), 2_000);
  return (
    <>
      <a href={link(["streams"])}>← Streams</a>
      <div class="heading">
        <h1>{name}</h1>
        <div class="buttons">
          <button type="button" class="danger" onClick={() => setDeleting(true)}>
            Delete …
          </button>
        </div>
      </div>
      <Problem text={error} />
      {stream !== null && (
        <>
          <section class="stats" aria-label="The stream">
            <Stat label="Records" value={whole(stream.records)} note={bytes(stream.bytes)} />
            <Stat
              label="Sequences"
              value={stream.records === 0 ? "–" : `${whole(stream.first_seq)} – ${whole(stream.last_seq)}`}
            />
            <Stat label="Keeps" value={retention(stream)} note={`durability ${stream.durability}`} />
            <Stat
              label="Groups"
              value={whole(stream.groups)}
              {...(stream.created_at > 0 ? { note: `created ${moment(stream.created_at)}` } : {})}
            />
          </section>
          <Charts stream={stream} read_ms={read_ms} />
          <Groups stream={name} />
          {group !== null && <DeadLetters key={group} stream={name} group={group} />}
          <Records stream={stream} />
        </>
      )}
      {deleting && (
        <FormDialog
          title={`Delete ${name}?`}
          action="Delete"
          danger
          typed={name}
          onClose={() => setDeleting(false)}
          run={async () => {
            await remove(address(["streams", name]));
            notify(`Deleted ${name}`);
            location.hash = link(["streams"]);
          }}
        >
          <p>
            {stream === null ? "Its records" : counted(stream.records, "record")}, the groups and their dead
            letters are removed. There is no way back.
          </p>
        </FormDialog>
      )}
    </>
  );
}
