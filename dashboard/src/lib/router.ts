// The address after `#` as a page and its parameters: the server needs nothing but static files.
import { useEffect, useState } from "preact/hooks";

export interface Route {
  /** Decoded levels of the path: #/queues/mail%2Fout → ["queues", "mail/out"]. */
  path: string[];
  query: URLSearchParams;
}

export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const decode = (level: string): string => {
    try {
      return decodeURIComponent(level);
    } catch {
      return level;
    }
  };
  return { path: path.split("/").filter(Boolean).map(decode), query: new URLSearchParams(query) };
}

/** A link to a page; what is undefined or "" is left out of the query. */
export function link(path: readonly string[], query: Record<string, string | undefined> = {}): string {
  const kept = Object.entries(query).filter((entry): entry is [string, string] => Boolean(entry[1]));
  const tail = kept.length > 0 ? `?${new URLSearchParams(kept).toString()}` : "";
  return `#/${path.map(encodeURIComponent).join("/")}${tail}`;
}

export function useRoute(): Route {
  const [route, setRoute] = useState(() => parseRoute(location.hash));
  useEffect(() => {
    const follow = (): void => setRoute(parseRoute(location.hash));
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  return route;
}
