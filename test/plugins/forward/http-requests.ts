import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import type { TunnelError } from '../../../protocol/codec/errors.ts'
import type { HeaderList } from '../../../protocol/codec/heads.ts'
import type { Opened, Rig } from './rig.ts'

export interface RequestInit {
  method?: string
  path?: string
  headers?: HeaderList
  body?: Uint8Array
  priority?: 'high' | 'normal' | 'low'
}

/** A request that is there at once. */
export function request(rig: Rig, target: string, init: RequestInit = {}): Opened {
  const { method = 'GET', path = '/', headers = [], body, priority = 'normal' } = init
  return rig.open({ kind: 'http', target, priority, http: { method, path, headers } }, body, true)
}

/** A request whose body is still to come. */
export function streaming(rig: Rig, target: string, init: RequestInit = {}): Opened {
  const { method = 'POST', path = '/', headers = [] } = init
  return rig.open({ kind: 'http', target, http: { method, path, headers } })
}

export const hasCode = (code: string) => (error: unknown) => {
  assert.equal((error as TunnelError).code, code, String(error))
  return true
}

export function header(headers: HeaderList, name: string): string | undefined {
  return headers.find(([it]) => it.toLowerCase() === name)?.[1]
}

export async function read(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}
