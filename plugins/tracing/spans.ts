/**
 * The spans that the proxy makes itself, with what they say: docs/OPERATIONS.md tells the same, and a test compares. A
 * request's span is called by its method and route, a stream's `stream` and its kind.
 */
export const SPANS = {
  request: [
    'http.request.method',
    'http.route',
    'http.response.status_code',
    'requestId',
    'userId',
    'latencyMs',
  ],
  handler: ['http.route'],
  link: ['role', 'requestId', 'connectionId', 'userId', 'machine', 'outcome'],
  stream: [
    'kind',
    'mode',
    'streamId',
    'requestId',
    'connectionId',
    'userId',
    'machine',
    'owner',
    'target',
    'moved',
    'latencyMs',
    'bytesIn',
    'bytesOut',
    'resumes',
    'outcome',
  ],
  admission: ['outcome'],
  policy: ['outcome'],
  'pool wait': ['outcome'],
  'ssh connect': ['outcome'],
  channel: ['outcome'],
} as const

/** What happens in the life of a stream, as events of its span. */
export const EVENTS = { suspended: [], resumed: ['gapMs'] } as const

export type SpanName = keyof typeof SPANS
/** What the spans of one name may say. */
export type AttributesOf<Name extends SpanName> = {
  [Attribute in (typeof SPANS)[Name][number]]?: string | number | boolean | undefined
}
