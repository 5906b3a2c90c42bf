import { expect, it } from "vitest";
import { address } from "../src/lib/api";
import { link, parseRoute } from "../src/lib/router";

it.each([["a/b"], ["100 %"], ["ä?#&="], ["%2F"]])("a link to %s leads to it", (name) => {
  const route = parseRoute(link(["queues", name], { state: name, none: undefined }));
  expect(route.path).toEqual(["queues", name]);
  expect(route.query.get("state")).toBe(name);
  expect(route.query.has("none")).toBe(false);
});

it("an address that nobody made is no error", () =>
  expect(parseRoute("#/store/%").path).toEqual(["store", "%"]));

it("names in addresses of the API are encoded, absent parameters left out", () =>
  expect(
    address(["queues", "a/b", "messages"], { state: "dead", after: undefined, reason: "", limit: 5 }),
  ).toBe("/api/v1/queues/a%2Fb/messages?state=dead&limit=5"));
