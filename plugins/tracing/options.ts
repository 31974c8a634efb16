import { type Static, Type } from 'typebox'

export const TracingOptions = Type.Object(
  {
    exporter: Type.Union([Type.Literal('none'), Type.Literal('otlp')], {
      default: 'none',
      description: 'where traces go: nowhere, or by OTLP over HTTP to a collector',
    }),
    url: Type.String({
      pattern: '^https?://[^\\s@]+$',
      default: 'http://127.0.0.1:4318/v1/traces',
      description: 'where the collector takes OTLP (protobuf over HTTP); Jaeger does at port 4318',
    }),
    ratio: Type.Number({
      minimum: 0,
      maximum: 1,
      default: 1,
      description:
        'the share of traces that is kept, of those that no caller has decided about; errors and streams that were resumed are kept whatever it is',
    }),
    fastify: Type.Union([Type.Literal('instrumentation'), Type.Literal('otel')], {
      default: 'instrumentation',
      description:
        'what looks into the routes: `@opentelemetry/instrumentation-fastify`, or its successor `@fastify/otel`',
    }),
  },
  { additionalProperties: false },
)

export type TracingOptions = Static<typeof TracingOptions>
