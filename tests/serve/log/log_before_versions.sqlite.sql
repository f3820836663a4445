BEGIN TRANSACTION;
CREATE TABLE checks (
	at DATETIME NOT NULL,
	model_version TEXT NOT NULL,
	verdict TEXT NOT NULL,
	found JSON NOT NULL,
	PRIMARY KEY (at)
);
INSERT INTO "checks" VALUES('2026-11-11 12:30:15.250000','ae7b7b237f66','healthy','{"window": {"model_version": "ae7b7b237f66"}, "verdict": "healthy", "reasons": []}');
CREATE TABLE outcomes (
	customer_id TEXT NOT NULL,
	request_id TEXT NOT NULL,
	observed_at DATETIME NOT NULL,
	churned BOOLEAN NOT NULL,
	received_at DATETIME NOT NULL,
	PRIMARY KEY (customer_id, request_id, observed_at)
);
INSERT INTO "outcomes" VALUES('c-1','','2026-11-10 12:30:15.250000',1,'2026-11-10 12:30:15.250000');
INSERT INTO "outcomes" VALUES('','request-1','2026-11-10 12:30:15.250000',0,'2026-11-10 12:30:15.250000');
CREATE TABLE predictions (
	id TEXT NOT NULL,
	request_id TEXT NOT NULL,
	at DATETIME NOT NULL,
	customer_id TEXT,
	features JSON NOT NULL,
	churn_probability DOUBLE NOT NULL,
	prediction TEXT NOT NULL,
	threshold DOUBLE NOT NULL,
	model_version TEXT NOT NULL,
	arm TEXT NOT NULL,
	latency_ms DOUBLE NOT NULL,
	PRIMARY KEY (id)
)
 WITHOUT ROWID

;
INSERT INTO "predictions" VALUES('065f3631007450012345678900000000','request-0','2026-11-01 12:30:15.250000','c-1','{"tenure": 2.5, "contract": "One year", "total_charges": null}',0.62,'churn',0.33,'ae7b7b237f66','champion',1.5);
INSERT INTO "predictions" VALUES('065f36310fb690012345678900000001','request-1','2026-11-01 12:30:16.250000',NULL,'{"tenure": 2.5, "contract": "One year", "total_charges": null}',0.07,'no_churn',0.33,'ae7b7b237f66','challenger',1.5);
INSERT INTO "predictions" VALUES('065f36311ef8d0012345678900000002','request-2','2026-11-01 12:30:17.250000','Zoë 客户','{}',0.62,'churn',0.33,'ae7b7b237f66','shadow',1.5);
CREATE INDEX outcomes_received_at ON outcomes (received_at);
CREATE INDEX predictions_customer_id ON predictions (customer_id) WHERE arm <> 'shadow';
CREATE INDEX predictions_request_id ON predictions (request_id) WHERE arm <> 'shadow';
COMMIT;
