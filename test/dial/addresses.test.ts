import assert from 'node:assert/strict'
import { test } from 'node:test'
import { addressesOf, addressOf } from '../../dial/addresses.ts'

test('a base of either scheme, with or without a path, gives link and API', () => {
  const plain = { link: 'ws://h:3001/api/tunnel/connect', api: 'http://h:3001/api/tunnel' }
  for (const base of [
    'http://h:3001',
    'ws://h:3001/',
    'http://h:3001/api/tunnel',
    'ws://h:3001/api/tunnel/connect',
  ]) {
    assert.deepEqual(addressOf(base), plain)
  }
  assert.deepEqual(addressOf('https://h/behind/', 'agent'), {
    link: 'wss://h/behind/api/tunnel/agent',
    api: 'https://h/behind/api/tunnel',
  })
})

test('what is no address, and none at all, are mistakes in the configuration', () => {
  for (const bad of ['', 'h:3001', 'ftp://h', 'nonsense']) {
    assert.throws(() => addressOf(bad), { code: 'CONFIG_INVALID' })
  }
  assert.throws(() => addressesOf([]), { code: 'CONFIG_INVALID' })
})
