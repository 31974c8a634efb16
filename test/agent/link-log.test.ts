import assert from 'node:assert/strict'
import { test } from 'node:test'
import { logLinks } from '../../agent/link-log.ts'
import type { Connection } from '../../dial/connection.ts'
import { Emitter } from '../../dial/emitter.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'

class Links extends Emitter<Events> {
  override emit<Name extends keyof Events>(name: Name, ...args: Events[Name]): void {
    super.emit(name, ...args)
  }
}

type Events = { lost: [TunnelError]; link: [{ transport: 'websocket' }]; redial: [object] }

test('a link that is lost while another stands worries nobody: the machine stays on line', () => {
  const connection = new Links()
  const said: string[] = []
  let elsewhere = true
  logLinks(connection as unknown as Connection, {
    url: 'ws://proxy',
    streams: () => 0,
    isElsewhere: () => elsewhere,
    log: (level, message) => said.push(`${level}: ${message.replace(/\d+\.\d s/, 'N s')}`),
  })
  const error = new TunnelError('SHUTTING_DOWN', 'the proxy is shutting down', { hop: 'proxy' })
  const cut = () => {
    connection.emit('lost', error)
    connection.emit('redial', { attempt: 2, delayMs: 1_500, error })
    connection.emit('link', { transport: 'websocket' })
  }
  cut()
  elsewhere = false
  cut()
  assert.deepEqual(said, [
    'info: one of the links is lost, the machine stays on line: the proxy is shutting down',
    'info: the proxy is shutting down; dialling again in N s',
    'info: the other link is back after N s',
    'warn: link lost: the proxy is shutting down',
    'warn: the proxy is shutting down; dialling again in N s',
    'info: on line again after N s',
  ])
})
