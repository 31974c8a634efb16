import type { FrameType } from '../../protocol/codec/frames.ts'
import type { Outcome } from '../support/foreign-frames.ts'

export interface Entry {
  /** `none`: whoever may connect. `metrics`, `body`: what it asks for is not a user's token in a header. */
  asks: 'user' | 'metrics' | 'body' | 'none'
  /** Its path with everything filled in, alice's machine `home` where it has one. */
  path: string
  body?: object
  /** What a user gets who has nothing here; a code where it is refused. */
  other?: string | number
  /** What an agent of alice's gets. */
  agent?: string | number
}

export const OK = 200

/** Every route, and what each kind of caller gets. A route that is not here fails the test. */
export const ROUTES: Record<string, Entry> = {
  'GET /connect': { asks: 'user', path: '/connect', other: 'REQUEST_INVALID', agent: 'REQUEST_INVALID' },
  'GET /agent': { asks: 'user', path: '/agent', other: 'REQUEST_INVALID', agent: 'REQUEST_INVALID' },
  'POST /connect/stream': {
    ...{ asks: 'user', path: '/connect/stream', other: 'VERSION_UNSUPPORTED', agent: 'VERSION_UNSUPPORTED' },
  },
  'POST /agent/stream': {
    ...{ asks: 'user', path: '/agent/stream', other: 'VERSION_UNSUPPORTED', agent: 'VERSION_UNSUPPORTED' },
  },
  // The session's own secret lets in, together with what opened it.
  'POST /connect/stream/up': {
    ...{ asks: 'body', path: '/connect/stream/up', other: 'SESSION_UNKNOWN', agent: 'SESSION_UNKNOWN' },
  },
  'POST /agent/stream/up': {
    ...{ asks: 'body', path: '/agent/stream/up', other: 'SESSION_UNKNOWN', agent: 'SESSION_UNKNOWN' },
  },
  'GET /machines': { asks: 'user', path: '/machines', other: OK, agent: OK },
  'GET /machines/:machine': { asks: 'user', path: '/machines/home', other: 'MACHINE_UNKNOWN', agent: OK },
  'DELETE /machines/:machine': {
    ...{ asks: 'user', path: '/machines/home', other: 'MACHINE_UNKNOWN', agent: 'FORBIDDEN' },
  },
  'POST /machines/:machine/trust': {
    ...{ asks: 'user', path: '/machines/home/trust', other: 'MACHINE_UNKNOWN', agent: 'FORBIDDEN' },
  },
  'ALL /machines/:machine/http/:port/*': {
    ...{ asks: 'user', path: '/machines/home/http/80/', other: 'MACHINE_UNKNOWN', agent: 'POLICY_DENIED' },
  },
  'POST /machines/:machine/exec': {
    ...{ asks: 'user', path: '/machines/home/exec', body: { command: 'true' } },
    ...{ other: 'MACHINE_UNKNOWN', agent: 'POLICY_DENIED' },
  },
  'GET /machines/:machine/origin/:port': {
    ...{ asks: 'user', path: '/machines/home/origin/80', other: 'MACHINE_UNKNOWN', agent: OK },
  },
  // A name of one's own: the machine that it makes is the caller's.
  'POST /machines/:machine/enrolment': {
    ...{ asks: 'user', path: '/machines/home/enrolment', other: 201, agent: 'FORBIDDEN' },
  },
  'POST /enrolments': {
    ...{
      asks: 'body',
      path: '/enrolments',
      body: { code: 'wrong' },
      other: 'TICKET_INVALID',
      agent: 'TICKET_INVALID',
    },
  },
  'POST /policy/check': {
    ...{ asks: 'user', path: '/policy/check', body: { sub: 'alice', machine: 'home', kind: 'ssh' } },
    ...{ other: 'FORBIDDEN', agent: 'FORBIDDEN' },
  },
  'GET /ssh/key': { asks: 'user', path: '/ssh/key', other: OK, agent: OK },
  'GET /auth/login': { asks: 'none', path: '/auth/login' },
  'POST /auth/ticket': { asks: 'user', path: '/auth/ticket', other: 201, agent: 'FORBIDDEN' },
  'POST /auth/refresh': {
    ...{ asks: 'body', path: '/auth/refresh', body: { refreshToken: 'a.b.c' } },
    ...{ other: 'TOKEN_INVALID', agent: 'TOKEN_INVALID' },
  },
  'POST /auth/revoke': {
    ...{ asks: 'user', path: '/auth/revoke', body: { sub: 'alice' }, other: 'FORBIDDEN', agent: 'FORBIDDEN' },
  },
  // Of the caller alone, unless an admin asks.
  'GET /sessions': { asks: 'user', path: '/sessions', other: OK, agent: 'FORBIDDEN' },
  'GET /sessions/:id/watch': {
    ...{
      asks: 'user',
      path: `/sessions/${'0'.repeat(32)}/watch`,
      other: 'UNKNOWN_STREAM',
      agent: 'FORBIDDEN',
    },
  },
  'DELETE /sessions/:id': {
    ...{
      asks: 'user',
      path: `/sessions/${'0'.repeat(32)}`,
      other: 'UNKNOWN_STREAM',
      agent: 'FORBIDDEN',
    },
  },
  'GET /links': { asks: 'user', path: '/links', other: OK, agent: 'FORBIDDEN' },
  'DELETE /links/:id': {
    ...{
      asks: 'user',
      path: '/links/00000000-0000-4000-8000-000000000000',
      other: 'UNKNOWN_STREAM',
      agent: 'FORBIDDEN',
    },
  },
  'GET /diagnostics': { asks: 'user', path: '/diagnostics', other: OK, agent: 'FORBIDDEN' },
  'GET /cluster': { asks: 'user', path: '/cluster', other: 'FORBIDDEN', agent: 'FORBIDDEN' },
  'GET /config': { asks: 'user', path: '/config', other: 'FORBIDDEN', agent: 'FORBIDDEN' },
  'PATCH /config': { asks: 'user', path: '/config', body: {}, other: 'FORBIDDEN', agent: 'FORBIDDEN' },
  'PUT /circuits': {
    ...{ asks: 'user', path: '/circuits', body: { user: 'alice', machine: 'home', state: 'open' } },
    ...{ other: 'FORBIDDEN', agent: 'FORBIDDEN' },
  },
  'GET /docs': { asks: 'none', path: '/docs' },
  'GET /docs/json': { asks: 'none', path: '/docs/json' },
  'GET /docs/yaml': { asks: 'none', path: '/docs/yaml' },
  'GET /docs/static/index.html': { asks: 'none', path: '/docs/static/index.html' },
  'GET /docs/static/swagger-initializer.js': { asks: 'none', path: '/docs/static/swagger-initializer.js' },
  'GET /docs/static/*': { asks: 'none', path: '/docs/static/swagger-ui.css' },
  'GET /health': { asks: 'none', path: '/health' },
  'GET /health/ready': { asks: 'none', path: '/health/ready' },
  'GET /metrics': { asks: 'metrics', path: '/metrics', other: 'TOKEN_INVALID', agent: 'TOKEN_INVALID' },
}

/** What a frame on another's stream, in another's name, comes to; alice's stream goes on whatever it is. */
export const FRAMES: Record<keyof typeof FrameType, { client: Outcome; agent: Outcome }> = {
  HELLO: { client: 'closed', agent: 'closed' },
  PING: { client: 'answered', agent: 'answered' },
  PONG: { client: 'ignored', agent: 'ignored' },
  // Of the other user, whom the link does not belong to.
  AUTH: { client: 'closed', agent: 'closed' },
  // Only replicas have anything to tell each other.
  MESH: { client: 'closed', agent: 'closed' },
  GOAWAY: { client: 'ignored', agent: 'ignored' },
  OPEN: { client: 'refused', agent: 'refused' },
  ACCEPT: { client: 'closed', agent: 'closed' },
  DATA: { client: 'closed', agent: 'closed' },
  AUX: { client: 'closed', agent: 'closed' },
  EVENT: { client: 'closed', agent: 'closed' },
  END: { client: 'closed', agent: 'closed' },
  WINDOW: { client: 'closed', agent: 'closed' },
  RESET: { client: 'closed', agent: 'closed' },
  SUSPEND: { client: 'closed', agent: 'closed' },
  RESUME: { client: 'refused', agent: 'refused' },
  RESUMED: { client: 'closed', agent: 'closed' },
}
