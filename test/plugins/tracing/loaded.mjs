// Starts the proxy as it is shipped, and prints which packages of OpenTelemetry that has loaded.
import { createRequire } from 'node:module'
import { buildServer, loadSettings } from '../../../dist/index.js'

const [, , stateDir, exporter] = process.argv
const { settings } = loadSettings({ stateDir, env: {}, flags: [`tracing.exporter=${exporter}`] })
const app = await buildServer({ settings, logStream: { write() {} } })
const names = Object.keys(createRequire(import.meta.url).cache).map(
  (path) => /.*node_modules\/(@(?:opentelemetry\/[^/]+|fastify\/otel))/.exec(path)?.[1],
)
console.log(JSON.stringify([...new Set(names)].filter((name) => name !== undefined)))
await app.close()
