// The one place that calls the broker. Knows the shape of requests and errors, not of pages.
import { parseJson } from "./json";

const BASE = "/api/v1";

/** What the broker refused, or that it could not be reached (status 0). */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

export type Query = Record<string, string | number | boolean | undefined | null>;

/** An address below /api/v1. Levels are percent-encoded here; what is undefined, null or "" is left out. */
export function address(levels: readonly (string | number)[], query: Query = {}): string {
  const kept = Object.entries(query).filter(
    ([, value]) => value !== undefined && value !== null && value !== "",
  );
  const tail = kept.map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`).join("&");
  return `${BASE}/${levels.map((level) => encodeURIComponent(level)).join("/")}${tail ? `?${tail}` : ""}`;
}

interface Problem {
  code?: string;
  detail?: string;
  title?: string;
}

async function call<T>(method: string, url: string, body?: string): Promise<T> {
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, {
      method,
      ...(method === "GET" ? {} : { headers: { "Content-Type": "application/json" }, body: body ?? "{}" }),
    });
    text = await response.text();
  } catch {
    throw new ApiError(0, "UNREACHABLE", "The broker does not answer.");
  }
  if (response.ok) return parseJson(text) as T;
  let problem: Problem = {};
  try {
    problem = JSON.parse(text) as Problem;
  } catch {
    // Something between us and the broker answered; its status says all there is.
  }
  const code = problem.code ?? `HTTP_${response.status}`;
  throw new ApiError(
    response.status,
    code,
    problem.detail ?? problem.title ?? `The answer was ${response.status}.`,
  );
}

export const get = <T>(url: string): Promise<T> => call<T>("GET", url);
export const post = <T>(url: string, body: object = {}): Promise<T> =>
  call<T>("POST", url, JSON.stringify(body));
export const remove = <T>(url: string): Promise<T> => call<T>("DELETE", url);

/** A request whose body is JSON already, since it holds a person's own JSON to the digit. */
export const send = <T>(method: "POST" | "PUT", url: string, json: string): Promise<T> =>
  call<T>(method, url, json);

/** Why an address is refused, or null if it is not: an EventSource does not tell. */
export async function refusal(url: string): Promise<string | null> {
  const stop = new AbortController();
  try {
    const response = await fetch(url, { signal: stop.signal });
    if (response.status < 400 || response.status >= 500) return null;
    return ((await response.json()) as Problem).detail ?? `The answer was ${response.status}.`;
  } catch {
    return null;
  } finally {
    stop.abort();
  }
}

export function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
