import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkText } from '../../cli/commands/status.ts'

test('a check that fails is shown with its reason as a person reads it', () => {
  assert.equal(checkText({ status: 'ok' }), 'ok')
  assert.equal(checkText({ status: 'failed', detail: 'the disk is full' }), 'failed (the disk is full)')
  assert.equal(checkText({ status: 'failed', more: 1 }), '{"status":"failed","more":1}')
})
