import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { ProtobufReader } from '@opentelemetry/otlp-transformer/build/src/common/protobuf/protobuf-reader.js'
import type { Scope } from './scope.ts'

type Value = string | number | boolean

/** A span as a collector gets it. */
export interface ReceivedSpan {
  service: string
  scope: string
  traceId: string
  spanId: string
  traceState: string
  /** '' for the first of a trace. */
  parentId: string
  name: string
  /** 1 internal, 2 server, 3 client. */
  kind: number
  attributes: Record<string, Value>
  events: { name: string; attributes: Record<string, Value> }[]
  links: { traceId: string; spanId: string }[]
  /** 2: it failed. */
  status: number
}

const LENGTH_DELIMITED = 2
const VARINT = 0
const FIXED64 = 1

type Field = { number: number; bytes: Buffer; varint: number; double: number }

/** The fields of one message, in their order. */
function* fieldsOf(message: Uint8Array): Generator<Field> {
  const buffer = Buffer.from(message)
  const reader = new ProtobufReader(buffer)
  while (!reader.isAtEnd()) {
    const { fieldNumber: number, wireType } = reader.readTag()
    const field: Field = { number, bytes: Buffer.alloc(0), varint: 0, double: 0 }
    if (wireType === LENGTH_DELIMITED) field.bytes = Buffer.from(reader.readBytes())
    else if (wireType === VARINT) field.varint = reader.readVarint()
    else {
      if (wireType === FIXED64) field.double = buffer.readDoubleLE(reader.pos)
      reader.skip(wireType)
    }
    yield field
  }
}

/** AnyValue. */
function readValue(message: Uint8Array): Value {
  for (const { number, bytes, varint, double } of fieldsOf(message)) {
    if (number === 1) return String(bytes)
    if (number === 2) return varint !== 0
    if (number === 3) return varint
    if (number === 4) return double
  }
  return ''
}

/** The `KeyValue`s that are field `at` of a message. */
function attributesIn(message: Uint8Array, at: number): Record<string, Value> {
  const found: Record<string, Value> = {}
  for (const { number, bytes } of fieldsOf(message)) {
    if (number !== at) continue
    const pair = new Map([...fieldsOf(bytes)].map((field) => [field.number, field.bytes]))
    found[String(pair.get(1))] = readValue(pair.get(2) ?? Buffer.alloc(0))
  }
  return found
}

function spanOf(message: Uint8Array, service: string, scope: string): ReceivedSpan {
  const span: ReceivedSpan = {
    ...{
      service,
      scope,
      traceId: '',
      spanId: '',
      traceState: '',
      parentId: '',
      name: '',
      kind: 0,
      status: 0,
    },
    ...{ attributes: attributesIn(message, 9), events: [], links: [] },
  }
  for (const { number, bytes, varint } of fieldsOf(message)) {
    if (number === 1) span.traceId = bytes.toString('hex')
    else if (number === 2) span.spanId = bytes.toString('hex')
    else if (number === 3) span.traceState = String(bytes)
    else if (number === 4) span.parentId = bytes.toString('hex')
    else if (number === 5) span.name = String(bytes)
    else if (number === 6) span.kind = varint
    else if (number === 11) {
      const name = [...fieldsOf(bytes)].find((field) => field.number === 2)?.bytes
      span.events.push({ name: String(name), attributes: attributesIn(bytes, 3) })
    } else if (number === 13) {
      const link = new Map([...fieldsOf(bytes)].map((field) => [field.number, field.bytes.toString('hex')]))
      span.links.push({ traceId: link.get(1) ?? '', spanId: link.get(2) ?? '' })
    } else if (number === 15)
      span.status = [...fieldsOf(bytes)].find((field) => field.number === 3)?.varint ?? 0
  }
  return span
}

/** ExportTraceServiceRequest (opentelemetry-proto, collector/trace/v1). */
function spansIn(body: Uint8Array): ReceivedSpan[] {
  const ofOne = (message: Uint8Array, at: number) =>
    [...fieldsOf(message)].filter(({ number }) => number === at).map(({ bytes }) => bytes)
  return ofOne(body, 1).flatMap((resourceSpans) => {
    const [resource = Buffer.alloc(0)] = ofOne(resourceSpans, 1)
    const service = String(attributesIn(resource, 1)['service.name'])
    return ofOne(resourceSpans, 2).flatMap((scopeSpans) => {
      const [scope = Buffer.alloc(0)] = ofOne(scopeSpans, 1)
      const name = String(ofOne(scope, 1)[0] ?? '')
      return ofOne(scopeSpans, 2).map((span) => spanOf(span, service, name))
    })
  })
}

/** How a collector behaves that is none. */
export type Misbehaviour = (request: IncomingMessage, response: ServerResponse) => void

/** A collector of traces: OTLP over HTTP, as Jaeger takes it. */
export class Collector {
  readonly spans: ReceivedSpan[] = []
  /** Of requests. */
  readonly types: (string | undefined)[] = []
  misbehaves: Misbehaviour | undefined
  readonly #server = createServer((request, response) => void this.#take(request, response))

  /** Closes with the scope. */
  static async listen(scope: Scope): Promise<Collector> {
    const collector = new Collector()
    const server = collector.#server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    scope.after(() => {
      server.closeAllConnections()
      server.close()
    })
    return collector
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/v1/traces`
  }

  named(name: string): ReceivedSpan[] {
    return this.spans.filter((span) => span.name === name)
  }

  /** The names of a span and of all below it: `{ 'GET /x': { handler: {} } }`. Of equals one is named. */
  treeOf({ traceId, spanId }: Pick<ReceivedSpan, 'traceId' | 'spanId'>): Tree {
    const below = this.spans.filter((span) => span.traceId === traceId && span.parentId === spanId)
    return Object.fromEntries(below.map((span) => [span.name, this.treeOf(span)]))
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.misbehaves !== undefined) return this.misbehaves(request, response)
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    this.types.push(request.headers['content-type'])
    this.spans.push(...spansIn(Buffer.concat(parts)))
    response.setHeader('content-type', 'application/x-protobuf').end()
  }
}

export interface Tree {
  [name: string]: Tree
}
