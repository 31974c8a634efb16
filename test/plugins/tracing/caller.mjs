// A program that uses OpenTelemetry and the client library, as its users have them: one request and one command below a job.
import { createTraceState, ROOT_CONTEXT, trace } from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import { resourceFromAttributes } from '@opentelemetry/resources'
import { NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node'
import { TunnelService } from '../../../dist/client/index.js'

const { url, token, collector, port } = JSON.parse(process.argv[2] ?? '{}')
const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ 'service.name': 'caller' }),
  spanProcessors: [new SimpleSpanProcessor(new OTLPTraceExporter({ url: collector }))],
})
provider.register()
const tunnel = new TunnelService({ url, token })
await tunnel.connect()
// The job is a part of somebody else's work, who tells something of it.
const asked = trace.setSpanContext(ROOT_CONTEXT, {
  ...{ traceId: 'c'.repeat(32), spanId: 'd'.repeat(16), traceFlags: 1, isRemote: true },
  traceState: createTraceState('vendor=of-the-job'),
})
await trace.getTracer('caller').startActiveSpan('job', {}, asked, async (span) => {
  await (await tunnel.fetch(`http://home:${port}/x?secret=hunter2`)).text()
  await tunnel.exec('home', ['true'])
  await tunnel.exec('nowhere', ['true']).catch((error) => console.log(error.code))
  span.end()
})
await tunnel.disconnect()
await provider.shutdown()
