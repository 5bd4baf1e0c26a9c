#!/usr/bin/perl
#
# Money, step by step: an invoice saved as unpaid, paid later at another desk, one
# paid at once, one that was a mistake. A device shows a bill with its items and
# payments, never a part of them.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use ClinicTest::Realtime;

my $day = ClinicTest::Realtime->new(app => 'fresh_v43');
my ($patient) = $day->clinic->dbh->selectrow_array('SELECT min(id) FROM patients');
my $whole = q(SELECT b.status, (SELECT count(*) FROM bill_items i WHERE i."billId" = b.id),
	(SELECT count(*) FROM payments p WHERE p."billId" = b.id) FROM patient_bills b WHERE b.id = ?);

sub bill_sql {
	my ($id, $invoice, $status) = @_;
	return qq(INSERT INTO patient_bills (id, "patientId", "invoiceNumber", "billDate", "dueDate", subtotal, "totalAmount", status)
		VALUES ('$id', '$patient', '$invoice', '2026-11-23 10:00', '2026-12-23 10:00', 750.5, 750.50, '$status');
		INSERT INTO bill_items ("billId", description, quantity, "unitPrice", "itemTotal")
		VALUES ('$id', 'Complete Blood Count', 1, 250, 250), ('$id', 'Lipid Profile', 1, 500.50, 500.50););
}

sub payment_sql {
	my ($id, $reference) = @_;
	return qq(INSERT INTO payments ("billId", "patientId", "patientName", "referenceNumber", "paymentDate", "amountPaid",
			"totalBillAmount", "paymentMethod", "receivedByUserId")
		VALUES ('$id', '$patient', 'Somebody', '$reference', '2026-11-23 10:05:00.123456', 1000, 750.50, 'Cash', 'admin'););
}

$day->step('an invoice is saved as unpaid', bill_sql('BILL-r1', 'INV-R00001', 'Unpaid'),
	sees => [[$whole, 'BILL-r1'] => 'Unpaid|2|0',
		['SELECT typeof("totalAmount"), "totalAmount" = 750.5, typeof(subtotal), "taxAmount" = 0.0 FROM patient_bills WHERE id = ?', 'BILL-r1']
			=> 'real|1|real|1',
		['SELECT sum("itemTotal") FROM bill_items WHERE "billId" = ?', 'BILL-r1'] => '750.5'],
	events => ['billing_change_immediate patient_bills insert', ('billing_change_immediate bill_items insert') x 2]);

$day->step('it is paid at another desk',
	payment_sql('BILL-r1', 'PAY-R0000001') . q(UPDATE patient_bills SET status = 'Paid' WHERE id = 'BILL-r1';
		INSERT INTO user_activity_log (id, "userId", "actionDescription", "targetRecordId", "targetTable", "timestamp", details)
		VALUES (900010, 'admin', 'Payment received', 'BILL-r1', 'patient_bills', '2026-11-23 10:05', '{"amount":1000}')),
	sees => [[$whole, 'BILL-r1'] => 'Paid|2|1',
		['SELECT "paymentDate", "amountPaid" - "totalBillAmount" FROM payments WHERE "referenceNumber" = ?', 'PAY-R0000001']
			=> '2026-11-23T10:05:00.123456|249.5'],
	events => ['billing_change_immediate payments insert', 'billing_change_immediate patient_bills update',
		'user_data_change_immediate user_activity_log insert']);

$day->step('another is paid at once', bill_sql('BILL-r2', 'INV-R00002', 'Paid') . payment_sql('BILL-r2', 'PAY-R0000002'),
	sees => [[$whole, 'BILL-r2'] => 'Paid|2|1'],
	events => ['billing_change_immediate patient_bills insert', ('billing_change_immediate bill_items insert') x 2,
		'billing_change_immediate payments insert']);

$day->step('an item is corrected', q(UPDATE bill_items SET quantity = 2, "itemTotal" = 500 WHERE "billId" = 'BILL-r2' AND "unitPrice" = 250;
		UPDATE patient_bills SET subtotal = 1000.5, "totalAmount" = 1000.50 WHERE id = 'BILL-r2'),
	sees => [[q(SELECT b."totalAmount" = (SELECT sum("itemTotal") FROM bill_items i WHERE i."billId" = b.id)
			FROM patient_bills b WHERE b.id = ?), 'BILL-r2'] => '1'],
	events => ['billing_change_immediate bill_items update', 'billing_change_immediate patient_bills update']);

# two invoices exchange their numbers: at no step inside may the file refuse
$day->step('two invoice numbers were exchanged by mistake, and are put right', q(
		UPDATE patient_bills SET "invoiceNumber" = NULL WHERE id = 'BILL-r1';
		UPDATE patient_bills SET "invoiceNumber" = 'INV-R00001' WHERE id = 'BILL-r2';
		UPDATE patient_bills SET "invoiceNumber" = 'INV-R00002' WHERE id = 'BILL-r1'),
	sees => [[q(SELECT group_concat("invoiceNumber") FROM (SELECT "invoiceNumber" FROM patient_bills WHERE id LIKE 'BILL-r_' ORDER BY id))]
		=> 'INV-R00002,INV-R00001'],
	events => [('billing_change_immediate patient_bills update') x 2, 'billing_change_immediate patient_bills put']);

# the server keeps the money that was received; the fresh app's own table has no place for a
# payment without a bill, so there the row is parked, and nothing else is held up by it
$day->step('a bill that was a mistake goes, with its items; the payment stays', q(DELETE FROM patient_bills WHERE id = 'BILL-r2'),
	sees => [['SELECT (SELECT count(*) FROM patient_bills WHERE id = ?1), (SELECT count(*) FROM bill_items WHERE "billId" = ?1)', 'BILL-r2'] => '0|0'],
	events => ['billing_change_immediate patient_bills delete', ('billing_change_immediate bill_items delete') x 2,
		'billing_change_immediate payments update']);

$day->finish(parked => "parked: 1\n  payments: 1 rows");
