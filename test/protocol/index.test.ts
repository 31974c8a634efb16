import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import * as surface from '../../protocol/index.ts'

test('the public surface is chosen name by name, and nothing comes into it by accident', () => {
  const text = readFileSync(new URL('../../protocol/index.ts', import.meta.url), 'utf8')
  assert.doesNotMatch(text, /export (type )?\*/)
  assert.deepEqual(Object.keys(surface).sort(), [
    'Budget',
    'ERROR_KINDS',
    'Link',
    'PRIORITIES',
    'PROTOCOL_VERSION',
    'Relay',
    'RelayMemory',
    'STREAM_KINDS',
    'SUBPROTOCOL',
    'StreamAcceptor',
    'StreamOpener',
    'TunnelError',
    'TunnelStream',
    'WorkMeter',
    'asTunnelError',
    'isErrorCode',
    'isMachineName',
    'isSealed',
    'systemClock',
  ])
})
