// Where the front end goes and, for `npm run dev`, which broker it talks to.
import { defineConfig } from "vite";

const broker = process.env["NEXO_HTTP"] ?? "http://127.0.0.1:8080";

export default defineConfig({
  base: "./",
  esbuild: { jsx: "automatic", jsxImportSource: "preact", legalComments: "none" },
  build: {
    outDir: "../src/nexo/dashboard",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    assetsInlineLimit: 0,
  },
  server: { proxy: { "/api": broker } },
});
