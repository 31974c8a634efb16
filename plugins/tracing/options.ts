import { type Static, Type } from 'typebox'

export const TracingOptions = Type.Object(
  {
    exporter: Type.Union([Type.Literal('none'), Type.Literal('otlp')], {
      default: 'none',
      description: 'where traces are sent: nowhere, or by OTLP over HTTP to a collector',
    }),
    url: Type.String({
      pattern: '^https?://[^\\s@]+$',
      default: 'http://127.0.0.1:4318/v1/traces',
      description:
        'the address at which the collector accepts OTLP (protobuf over HTTP); Jaeger does at port 4318',
    }),
    ratio: Type.Number({
      minimum: 0,
      maximum: 1,
      default: 1,
      description:
        'the share of traces to keep of those about which no caller has decided; errors and streams that were resumed are always kept',
    }),
    fastify: Type.Union([Type.Literal('instrumentation'), Type.Literal('otel')], {
      default: 'instrumentation',
      description:
        'what traces the routes: `@opentelemetry/instrumentation-fastify`, or its successor `@fastify/otel`',
    }),
  },
  { additionalProperties: false },
)

export type TracingOptions = Static<typeof TracingOptions>
