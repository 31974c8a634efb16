// A program that uses OpenTelemetry and the client library, as its users have them: one request and one command below a job.
import { trace } from '@opentelemetry/api'
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
await trace.getTracer('caller').startActiveSpan('job', async (span) => {
  await (await tunnel.fetch(`http://home:${port}/x?secret=hunter2`)).text()
  await tunnel.exec('home', ['true'])
  await tunnel.exec('nowhere', ['true']).catch((error) => console.log(error.code))
  span.end()
})
await tunnel.disconnect()
await provider.shutdown()
