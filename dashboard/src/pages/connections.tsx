// Who is connected, over what, and who does not keep up.
import { useState } from "preact/hooks";
import { address, remove } from "../lib/api";
import { bytes, duration, whole } from "../lib/format";
import { usePages } from "../lib/hooks";
import { serverNow } from "../lib/live";
import { latestRate, trace } from "../lib/trace";
import type { Connection } from "../lib/types";
import { FormDialog } from "../ui/dialog";
import { notify } from "../ui/notice";
import { Badge, Cell, ListState, Pager } from "../ui/parts";

/** Bytes a second over the last two readings of a connection, "–" before there are two. */
function Rates({ connection, read_ms }: { connection: Connection; read_ms: number }) {
  const { received_bytes, sent_bytes, id } = connection;
  const columns = trace(`connection ${id}`, read_ms + serverNow() - Date.now(), {
    received_bytes,
    sent_bytes,
  });
  const shown = (counter: string): string => {
    const rate = latestRate(columns, counter);
    return Number.isNaN(rate) ? "–" : `${bytes(rate)}/s`;
  };
  return (
    <>
      <Cell name="In" number>
        {shown("received_bytes")}
      </Cell>
      <Cell name="Out" number>
        {shown("sent_bytes")}
      </Cell>
    </>
  );
}

export function ConnectionsPage() {
  const pages = usePages<Connection>((after) => address(["connections"], { after }), 2_000);
  const [closing, setClosing] = useState<Connection | null>(null);
  const items = pages.data?.items ?? [];
  return (
    <>
      <h1>Connections</h1>
      <p class="muted">
        The oldest first. “In” is what the client sends, “out” what it is sent; “waiting” is what the broker
        has for a client that does not read it; “dropped” what it lost by that.
      </p>
      {items.length > 0 && (
        <table class="list">
          <thead>
            <tr>
              <th>Name</th>
              <th>Protocol</th>
              <th>Address</th>
              <th class="number">In</th>
              <th class="number">Out</th>
              <th class="number">Subscriptions</th>
              <th class="number">Waiting</th>
              <th class="number">Dropped</th>
              <th class="number">Open for</th>
              <th />
            </tr>
          </thead>
          <tbody>
            {items.map((connection) => (
              <tr key={connection.id}>
                <th scope="row">
                  {connection.name || <span class="muted">no name</span>}{" "}
                  {connection.blocked && <Badge tone="warn">slow</Badge>}
                </th>
                <Cell name="Protocol">{connection.protocol}</Cell>
                <Cell name="Address">
                  <code>{connection.address}</code>
                </Cell>
                <Rates connection={connection} read_ms={pages.read_ms} />
                <Cell name="Subscriptions" number>
                  {whole(connection.subscriptions)}
                </Cell>
                <Cell name="Waiting" number>
                  {bytes(connection.pending_bytes)}
                </Cell>
                <Cell name="Dropped" number>
                  {connection.dropped > 0 ? <b class="warn">{whole(connection.dropped)}</b> : 0}
                </Cell>
                <Cell name="Open for" number>
                  {duration(Math.max(0, serverNow() - connection.since))}
                </Cell>
                <td class="actions">
                  <button
                    type="button"
                    aria-label={`Close ${connection.name || connection.address}`}
                    onClick={() => setClosing(connection)}
                  >
                    Close …
                  </button>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <ListState pages={pages} empty="Nobody is connected." />
      <Pager pages={pages} noun="connection" />
      {closing !== null && (
        <FormDialog
          title="Close this connection?"
          action="Close it"
          danger
          onClose={() => setClosing(null)}
          run={async () => {
            await remove(address(["connections", closing.id]));
            notify(`Closed ${closing.name || closing.address}`);
            pages.reload();
          }}
        >
          <p>
            <b>{closing.name || closing.address}</b> is told, may read what was written to it, and is cut off.
            Its leases end. Most clients connect again.
          </p>
        </FormDialog>
      )}
    </>
  );
}
